import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcome, problem } from '../src/said.ts';

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
