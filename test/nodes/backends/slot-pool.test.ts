import assert from 'node:assert/strict';
import { SlotPool } from '../../../nodes/backends/slot-pool.ts';

const never = new AbortController().signal;

describe('the slot pool', () => {
  it('lends each slot to one taker and serves the others in order', async () => {
    const pool = new SlotPool(['a', 'b']);
    const first = [await pool.take(never), await pool.take(never)];
    assert.deepEqual(new Set(first), new Set(['a', 'b']));
    const order: string[] = [];
    const waiting = ['third', 'fourth'].map(async (name) => {
      order.push(`${name}:${await pool.take(never)}`);
    });
    pool.give('b');
    pool.give('a');
    await Promise.all(waiting);
    assert.deepEqual(order, ['third:b', 'fourth:a']);
  });

  it('lets a waiting taker leave, and gives its turn to the next', async () => {
    const pool = new SlotPool(['a']);
    await pool.take(never);
    const abort = new AbortController();
    const leaving = pool.take(abort.signal);
    const staying = pool.take(never);
    abort.abort();
    assert.equal(await leaving, undefined);
    pool.give('a');
    assert.equal(await staying, 'a');
  });

  it('gives nothing to a taker that has already left', async () => {
    const pool = new SlotPool(['a']);
    assert.equal(await pool.take(AbortSignal.abort()), undefined);
    assert.equal(await pool.take(never), 'a');
  });

  it('does not lose a slot when the taker leaves just after it was given one', async () => {
    const pool = new SlotPool(['a']);
    await pool.take(never);
    const abort = new AbortController();
    const taking = pool.take(abort.signal);
    pool.give('a');
    abort.abort();
    assert.equal(await taking, 'a');
  });

  it('rejects those who wait and who come once it is closed, with the first reason', async () => {
    const pool = new SlotPool(['a']);
    await pool.take(never);
    const waiting = pool.take(never);
    pool.close(new Error('first'));
    pool.close(new Error('second'));
    await assert.rejects(waiting, /first/);
    await assert.rejects(pool.take(never), /first/);
  });
});
