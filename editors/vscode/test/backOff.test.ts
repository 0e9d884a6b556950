import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BackOff, FIRST_DELAY_MS, LONGEST_DELAY_MS, MOST_DEATHS, WELL_AFTER_MS } from '../src/backOff.ts';

test('each quick death doubles the wait, until the server is left alone', () => {
  const backOff = new BackOff();
  const waits = Array.from({ length: MOST_DEATHS - 1 }, () => backOff.died(0));
  assert.deepEqual(
    waits,
    [1, 2, 4, 8, 16].map((times) => times * FIRST_DELAY_MS),
  );
  assert.ok(waits.every((wait) => wait !== undefined && wait <= LONGEST_DELAY_MS));
  assert.equal(backOff.died(0), undefined);
});

test('a server that was well for a while starts a new count', () => {
  const backOff = new BackOff();
  for (let death = 1; death < MOST_DEATHS; death++) {
    backOff.died(0);
  }
  assert.equal(backOff.died(WELL_AFTER_MS), FIRST_DELAY_MS);
  assert.equal(backOff.died(WELL_AFTER_MS - 1), 2 * FIRST_DELAY_MS);
});

test('a start by hand forgets what was before', () => {
  const backOff = new BackOff();
  while (backOff.died(0) !== undefined) {}
  backOff.reset();
  assert.equal(backOff.died(0), FIRST_DELAY_MS);
});
