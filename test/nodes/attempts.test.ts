import assert from 'node:assert/strict';
import { Attempts } from '../../nodes/attempts.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import type { RunningAttempt } from '../../protocol/presence.ts';

const UNIT = formatRequestId(new Uint8Array(32).fill(1));
const STRANGER = formatRequestId(new Uint8Array(32).fill(2));

const attempt = (dispatch: number): RunningAttempt => ({
  unitId: UNIT,
  dispatch,
});

describe('nodes/attempts', () => {
  it('lists what runs, until it is over', () => {
    const attempts = new Attempts();
    const first = attempts.begin(attempt(1));
    // Executed twice at once, it runs until both are over.
    const again = attempts.begin(attempt(1));
    attempts.begin(attempt(2));
    assert.deepEqual(attempts.list(), [attempt(1), attempt(2)]);
    first.end();
    assert.deepEqual(attempts.list(), [attempt(1), attempt(2)]);
    again.end();
    assert.deepEqual(attempts.list(), [attempt(2)]);
  });

  it('waits for what has still to begin, also if it is over in no time', async () => {
    const attempts = new Attempts();
    attempts.begin(attempt(1));
    await attempts.haveBegun([attempt(1)], 60_000);
    let begun = false;
    const waiting = attempts.haveBegun([attempt(1), attempt(2)], 60_000).then(() => {
      begun = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(!begun);
    attempts.begin(attempt(2)).end();
    await waiting;
  });

  it('waits no longer than an attempt may take to arrive', async () => {
    const startedAt = performance.now();
    await new Attempts().haveBegun([attempt(1)], 60);
    const elapsedMs = performance.now() - startedAt;
    assert.ok(elapsedMs >= 60, `${elapsedMs} ms`);
  });

  it('aborts exactly the attempt that is named', () => {
    const attempts = new Attempts();
    const first = attempts.begin({ unitId: UNIT, dispatch: 1 });
    const second = attempts.begin({ unitId: UNIT, dispatch: 2 });
    attempts.cancel({ unitId: STRANGER, dispatch: 2 });
    attempts.cancel({ unitId: UNIT, dispatch: 3 });
    assert.deepEqual([first.signal.aborted, second.signal.aborted], [false, false]);
    attempts.cancel({ unitId: UNIT, dispatch: 2 });
    assert.deepEqual([first.signal.aborted, second.signal.aborted], [false, true]);
    attempts.cancel({ unitId: UNIT, dispatch: 2 });
    second.end();
    first.end();
    attempts.cancel({ unitId: UNIT, dispatch: 1 });
    assert.equal(first.signal.aborted, false);
  });

  it('remembers a command that overtakes the ticket, but not for ever', () => {
    const attempts = new Attempts();
    attempts.cancel({ unitId: UNIT, dispatch: 1 });
    assert.equal(attempts.begin({ unitId: UNIT, dispatch: 1 }).signal.aborted, true);
    attempts.cancel({ unitId: UNIT, dispatch: 2 });
    for (let dispatch = 1; dispatch <= 64; dispatch++)
      attempts.cancel({ unitId: STRANGER, dispatch });
    assert.equal(attempts.begin({ unitId: UNIT, dispatch: 2 }).signal.aborted, false);
    assert.equal(attempts.begin({ unitId: STRANGER, dispatch: 64 }).signal.aborted, true);
  });
});
