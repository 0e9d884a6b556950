import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editorTraps } from '../src/editorTraps.ts';

const FINE = { inlineSuggest: true, quickSuggestions: 'offWhenInlineCompletions', deadlineMs: 600 };

function settings(changes: object): string[] {
  return editorTraps({ ...FINE, ...changes }).map((trap) => trap.setting);
}

test('the defaults are no trap', () => {
  assert.deepEqual(settings({}), []);
});

test('nobody sees anything while the editor shows no inline suggestions', () => {
  assert.deepEqual(settings({ inlineSuggest: false }), ['editor.inlineSuggest.enabled']);
});

test('a deadline beyond the patience of VS Code is a trap only where VS Code is impatient', () => {
  assert.deepEqual(settings({ deadlineMs: 700 }), []);
  assert.deepEqual(settings({ deadlineMs: 701 }), ['understudy.deadlineMs']);
  assert.deepEqual(settings({ deadlineMs: 2000, quickSuggestions: 'on' }), []);
  assert.deepEqual(settings({ deadlineMs: 2000, quickSuggestions: 'off' }), []);
});
