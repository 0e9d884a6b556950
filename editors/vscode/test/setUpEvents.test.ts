import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  alternativesOf,
  eventOf,
  outcomeOf,
  type Plan,
  planOf,
  planShown,
  progressOf,
  size,
} from '../src/setUpEvents.ts';

const PLAN: Plan = {
  event: 'plan',
  model: 'coder-0.5b-q8f16_g32',
  title: 'Coder 0.5B',
  quantization: 'q8f16_g32',
  licence: 'Apache-2.0',
  non_commercial: false,
  download_bytes: 491_400_064,
  disk_bytes: 1_016_376_960,
  reason: 'here it takes about 241 ms while you type',
  alternatives: ['coder-1.5b: better, but about 757 ms: too slow'],
};

function lines(...events: object[]): string[] {
  return events.map((event) => JSON.stringify(event));
}

test('what is agreed to: model, licence, download, disk and the reason', () => {
  assert.deepEqual(planShown(PLAN), {
    question: 'Set up Coder 0.5B, q8f16_g32?',
    detail:
      'Licence: Apache-2.0\nDownload: 491 MB\nDisk: 1.0 GB\nWhy this one: here it takes about 241 ms while you type',
  });
  const here = planShown({ ...PLAN, download_bytes: 0, disk_bytes: 0 }).detail;
  assert.match(here, /^Download: nothing$/m);
  assert.match(here, /^Disk: nothing more$/m);
});

test('a licence that is not for commercial use says so, once', () => {
  const detail = planShown({ ...PLAN, licence: 'Qwen Research', non_commercial: true }).detail;
  assert.match(detail, /^Licence: Qwen Research, NOT FOR COMMERCIAL USE$/m);
  const marked = { ...PLAN, licence: 'Qwen Research, NOT FOR COMMERCIAL USE', non_commercial: true };
  assert.match(planShown(marked).detail, /^Licence: Qwen Research, NOT FOR COMMERCIAL USE$/m);
});

test('other models by name, with what to expect', () => {
  assert.deepEqual(alternativesOf(PLAN), [{ name: 'coder-1.5b', words: 'better, but about 757 ms: too slow' }]);
  assert.deepEqual(alternativesOf({ ...PLAN, alternatives: ['bare'] }), [{ name: 'bare', words: '' }]);
  assert.deepEqual(alternativesOf(undefined), []);
});

test('how far it is', () => {
  const fetching = { event: 'progress', stage: 'fetch', done: 12_345_678, total: 491_400_064, text: '' };
  const [bytes = ''] = lines(fetching);
  assert.equal(progressOf(bytes), 'downloading: 12 MB of 491 MB');
  const [words = ''] = lines({ ...fetching, stage: 'compile', done: 0, total: 0, text: 'linking' });
  assert.equal(progressOf(words), 'compiling: linking');
  const [alone = ''] = lines({ ...fetching, stage: 'new', done: 0, total: 0 });
  assert.equal(progressOf(alone), 'new');
});

test('a line that is no event is no progress either', () => {
  for (const line of ['', 'Traceback (most recent call last):', '[1]', 'null', '{"a": 1}', '{"event": "plan"']) {
    assert.equal(eventOf(line), undefined, line);
    assert.equal(progressOf(line), undefined, line);
  }
});

test('how it ended', () => {
  const done = { event: 'done', model: 'coder', changed: true, seconds: 9.2 };
  assert.deepEqual(outcomeOf(lines(PLAN, done)), { ok: true, message: 'coder answers now' });
  const before = { ...done, changed: false };
  assert.deepEqual(outcomeOf(lines(before)), { ok: true, message: 'coder answers already; nothing to do' });
  const failed = { event: 'failed', message: 'the disk is full', fix: 'understudy model list' };
  const told = 'the disk is full. To mend it: `understudy model list`';
  assert.deepEqual(outcomeOf(lines(PLAN, failed)), { ok: false, message: told });
  assert.deepEqual(outcomeOf(lines({ ...failed, fix: null })), { ok: false, message: 'the disk is full' });
  assert.equal(outcomeOf([...lines(PLAN), 'killed']), undefined);
  assert.equal(planOf(lines({ event: 'machine' }, PLAN))?.model, PLAN.model);
  assert.equal(planOf(lines(before)), undefined);
});

test('sizes as disks are sold', () => {
  const sizes = [0, 999, 1000, 9_949, 9_951, 999_499_999, 999_500_000, 1_117_320_768, 5e15];
  assert.deepEqual(sizes.map(size), [
    '0 bytes',
    '999 bytes',
    '1.0 kB',
    '9.9 kB',
    '10 kB',
    '999 MB',
    '1.0 GB',
    '1.1 GB',
    '5000 TB',
  ]);
});
