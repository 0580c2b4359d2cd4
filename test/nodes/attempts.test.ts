import assert from 'node:assert/strict';
import { RunningAttempts } from '../../nodes/attempts.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import type { RunningAttempt } from '../../protocol/presence.ts';

const attempt = (dispatch: number): RunningAttempt => ({
  unitId: formatRequestId(new Uint8Array(32).fill(1)),
  dispatch,
});

describe('nodes/attempts', () => {
  it('lists what runs, and forgets it once, however often it is over', () => {
    const attempts = new RunningAttempts();
    const over = attempts.begin(attempt(1));
    attempts.begin(attempt(2));
    assert.deepEqual(attempts.list(), [attempt(1), attempt(2)]);
    over();
    over();
    assert.deepEqual(attempts.list(), [attempt(2)]);
  });

  it('waits for what has still to begin, also if it is over in no time', async () => {
    const attempts = new RunningAttempts();
    attempts.begin(attempt(1));
    await attempts.haveBegun([attempt(1)], 60_000);
    let begun = false;
    const waiting = attempts.haveBegun([attempt(1), attempt(2)], 60_000).then(() => {
      begun = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(!begun);
    attempts.begin(attempt(2))();
    await waiting;
  });

  it('waits no longer than an attempt may take to arrive', async () => {
    const startedAt = performance.now();
    await new RunningAttempts().haveBegun([attempt(1)], 60);
    const elapsedMs = performance.now() - startedAt;
    assert.ok(elapsedMs >= 60, `${elapsedMs} ms`);
  });
});
