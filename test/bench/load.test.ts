import assert from 'node:assert/strict';
import { closedLoop } from '../../bench/load.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('bench/load', () => {
  it('keeps exactly so many calls in flight, and waits for the last', async () => {
    let flying = 0;
    let highest = 0;
    let ended = 0;
    const { latenciesMs } = await closedLoop({ inFlight: 5, seconds: 0.05 }, async () => {
      highest = Math.max(highest, ++flying);
      await turn();
      flying -= 1;
      ended += 1;
    });
    assert.equal(highest, 5);
    assert.equal(flying, 0);
    assert.equal(latenciesMs.length, ended);
    assert.ok(latenciesMs.every((ms) => ms >= 0));
  });

  it('makes at least one call a lane, however short', async () => {
    const { latenciesMs } = await closedLoop({ inFlight: 3, seconds: 1e-9 }, turn);
    assert.equal(latenciesMs.length, 3);
  });

  it('ends with the first failure: a benchmark of failures says nothing', async () => {
    let calls = 0;
    const failing = async () => {
      await turn();
      if (++calls === 4) throw new Error('the fourth');
    };
    await assert.rejects(closedLoop({ inFlight: 2, seconds: 5 }, failing), /the fourth/);
    assert.ok(calls < 10);
  });
});
