import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcome, problem, unwatched } from '../src/said.ts';

test('how a night ended, without its stage', () => {
  const lines = [' collect  looking at what was saved', '    done  personal-0001 serves, at strength 1', ''];
  assert.equal(outcome(lines), 'personal-0001 serves, at strength 1');
  assert.equal(outcome([]), undefined);
});

test('a fault with the way to mend it', () => {
  const errors = [
    'a warning of some library',
    'understudy: no model echo: known are none',
    '  to mend it: understudy model import PATH',
  ];
  assert.equal(problem(errors), 'no model echo: known are none. To mend it: `understudy model import PATH`');
  assert.equal(problem(['understudy: the disk is full', '']), 'the disk is full');
});

test('whatever else was said is told as it is', () => {
  assert.equal(
    problem(['Usage: understudy learn now', '', 'Error: No such option: --x']),
    'Usage: understudy learn now Error: No such option: --x',
  );
  assert.equal(problem(['']), undefined);
});

test('why nothing watches a folder', () => {
  const on = ['on: /w', 'What would be trained on: understudy learn preview'];
  assert.equal(unwatched([...on, 'Installed; `understudy learn off` removes it with the last folder.']), undefined);
  const failed = 'It could not be started: `systemctl --user daemon-reload` failed';
  assert.equal(unwatched([...on, '[Unit]', failed]), failed);
  const none = 'This system has no login services that we know: run `understudy learn watch` in a terminal.';
  assert.equal(unwatched([...on, none]), none);
});
