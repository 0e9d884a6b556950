import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { menuEntries } from '../src/menu.ts';
import type { RuntimeStatus, ServerState, Standing } from '../src/status.ts';

const PLACE = { language: 'python', folder: '/w' };

function standing(runtime: RuntimeStatus = {}, server: ServerState = { kind: 'running' }): Standing {
  return { server, runtime };
}

function labels(runtime: RuntimeStatus, place: typeof PLACE | undefined = PLACE): string[] {
  return menuEntries(standing(runtime), place).map((entry) => entry.label.replace(/^\$\([^)]*\) /, ''));
}

test('every entry runs a command that package.json declares', () => {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const declared = new Set(manifest.contributes.commands.map((one: { command: string }) => one.command));
  const all = [
    ...menuEntries(standing({ adapterName: 'x' }), PLACE),
    ...menuEntries(standing({ noModel: true }), PLACE),
    ...menuEntries(standing({}, { kind: 'missing', reason: '' }), undefined),
  ];
  for (const { label, command } of all) {
    assert.ok(declared.has(command), `${label}: ${command}`);
  }
});

test('what is off can be switched on, and the other way round', () => {
  assert.deepEqual(labels({}).slice(0, 3), [
    'Switch off in this folder',
    'Switch off in python',
    'Switch off everywhere',
  ]);
  const off = labels({ foldersOff: ['/w'], languagesOff: ['python'] });
  assert.deepEqual(off.slice(0, 2), ['Switch on in this folder', 'Switch on in python']);
  assert.deepEqual(labels({ foldersOff: ['/v'], languagesOff: ['c'] }).slice(0, 2), labels({}).slice(0, 2));
});

test('when everything is off there is one switch', () => {
  assert.equal(
    labels({ disabled: true })
      .filter((label) => label.startsWith('Switch'))
      .join(),
    'Switch on everywhere',
  );
});

test('without a document only what is not about one', () => {
  const found = menuEntries(standing(), undefined).map((entry) => entry.command);
  assert.ok(!found.includes('understudy.toggleFolder'));
  assert.ok(!found.includes('understudy.learnHere'));
  assert.ok(found.includes('understudy.toggleEverywhere'));
});

test('strength is offered where there is an adapter', () => {
  assert.ok(!labels({ adapterName: null }).some((label) => label.startsWith('Strength')));
  assert.ok(labels({ adapterName: 'x', strength: 0.5 }).some((label) => label.startsWith('Strength')));
});

test('without a model the way to one comes first', () => {
  assert.equal(labels({ noModel: true })[0], 'Set up a model…');
  assert.equal(labels({ noModel: true }).length, labels({}).length);
  assert.ok(labels({}).indexOf('Set up a model…') > 0);
});

test('without a server the way to get one', () => {
  const found = menuEntries(standing({}, { kind: 'stopped', reason: 'died' }), PLACE).map((entry) => entry.command);
  assert.deepEqual(found, ['understudy.restartServer', 'understudy.openWalkthrough', 'understudy.showLog']);
});
