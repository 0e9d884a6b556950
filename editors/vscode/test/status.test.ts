import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasModel, type RuntimeStatus, type ServerState, statusShown } from '../src/status.ts';

function shown(runtime: RuntimeStatus, server: ServerState = { kind: 'running' }) {
  return statusShown({ server, runtime });
}

const READY: RuntimeStatus = { state: 'ready', model: 'small q8', adapter: null, strength: 1 };

test('model, adapter, strength and latency', () => {
  assert.equal(shown(READY).text, '$(sparkle) small');
  assert.equal(shown({ ...READY, latencyMs: 12 }).text, '$(sparkle) small · 12 ms');
  const mine = { ...READY, adapter: '0123456789abcdef', adapterName: 'night-3', latencyMs: 12 };
  assert.equal(shown(mine).text, '$(sparkle) small + night-3 · 12 ms');
  assert.equal(shown({ ...mine, strength: 0.5 }).text, '$(sparkle) small + night-3 × 0.5 · 12 ms');
  assert.ok(shown(mine).tooltip.includes('Adapter: night-3, strength 1'));
  assert.ok(shown(READY).tooltip.includes('Adapter: none (base model)'));
});

test('a model that is elsewhere is always said to be', () => {
  const { text, tooltip } = shown({ ...READY, remote: 'team.example', latencyMs: 12 });
  assert.equal(text, '$(cloud) small · remote: team.example · 12 ms');
  assert.ok(tooltip.includes('Your code is sent to team.example, as the settings say.'));
  assert.ok(!shown({ ...READY, remote: null }).text.includes('remote'));
});

test('a name that is too long for the bar is whole in the tooltip', () => {
  const name = 'an-adapter-with-a-name-that-goes-on-and-on';
  const { text, tooltip } = shown({ ...READY, adapter: 'x', adapterName: name });
  assert.ok(!text.includes(name));
  assert.ok(text.includes('…'));
  assert.ok(tooltip.some((line) => line.includes(name)));
});

test('how far loading and compiling are', () => {
  assert.equal(shown({ state: 'loading' }).text, '$(loading~spin) Understudy: loading');
  const compiling = shown({ state: 'compiling', progress: 0.426, message: 'small: lowering' });
  assert.equal(compiling.text, '$(loading~spin) Understudy: compiling 43 %');
  assert.deepEqual(compiling.tooltip, ['small: lowering']);
});

test('a failure is told with the command that mends it', () => {
  const failed = shown({ state: 'failed', message: 'no model', remedy: 'understudy model import PATH' });
  assert.equal(failed.tone, 'error');
  assert.deepEqual(failed.tooltip, ['no model', 'To mend it: `understudy model import PATH`']);
  assert.equal(shown({ state: 'off', message: 'it died' }).tone, 'warning');
  assert.equal(shown({ state: 'off' }).tone, 'plain');
});

test('no model yet, with a click that sets one up', () => {
  const none: RuntimeStatus = {
    state: 'off',
    noModel: true,
    model: '',
    message: 'no model yet',
    remedy: 'understudy setup',
  };
  const { text, tone, command, tooltip } = shown(none);
  assert.deepEqual(
    [text, tone, command],
    ['$(cloud-download) Understudy: no model yet', 'warning', 'understudy.setup'],
  );
  assert.match(tooltip.join(), /A click sets one up/);
  const broken: RuntimeStatus = { state: 'failed', noModel: false, message: 'no model gone' };
  assert.deepEqual([shown(broken).tone, shown(broken).command], ['error', undefined]);
  assert.equal(shown({ ...none, disabled: true }).text, '$(eye-closed) Understudy: off');
  assert.equal(shown(READY).command, undefined);
  const night = { sentence: 'A night goes on.' };
  assert.equal(shown({ ...none, night }).command, 'understudy.setup');
});

test('a model that loads is one, a broken one is none', () => {
  const states = ['off', 'starting', 'loading', 'compiling', 'ready', 'failed'] as const;
  assert.deepEqual(
    states.filter((state) => hasModel({ state })),
    ['loading', 'compiling', 'ready'],
  );
  assert.equal(hasModel({}), false);
});

test('why the last request had no answer is in the tooltip', () => {
  const { tooltip } = shown({ ...READY, skip: 'empty', sentence: 'Nothing is missing here.' });
  assert.ok(tooltip.includes('Last request: Nothing is missing here.'));
  assert.ok(!shown({ ...READY, skip: null, sentence: '' }).tooltip.some((line) => line.startsWith('Last request')));
});

test('a night that goes on is said, and how far it is', () => {
  const sentence = 'A night goes on: training, 48 of 120.';
  const training = shown({ ...READY, night: { share: 0.4, sentence } });
  assert.equal(training.text, '$(sparkle) small · learning 40 %');
  assert.ok(training.tooltip.includes(sentence));
  assert.equal(shown({ ...READY, night: { sentence } }).text, '$(sparkle) small · learning');
  assert.equal(shown({ ...READY, night: null }).text, shown(READY).text);
});

test('switched off everywhere beats the state of the runtime', () => {
  assert.equal(shown({ ...READY, disabled: true }).text, '$(eye-closed) Understudy: off');
});

test('without a server the runtime is not spoken of', () => {
  assert.equal(shown(READY, { kind: 'missing', reason: 'no command' }).tone, 'warning');
  assert.deepEqual(shown(READY, { kind: 'stopped', reason: 'died' }).tooltip, ['died']);
  const waiting = shown(READY, { kind: 'waiting', delayMs: 1500 });
  assert.deepEqual(waiting.tooltip, ['The language server ended; it starts again in 1.5 s.']);
});
