import assert from 'node:assert/strict';
import { measureReservations, POOL_SIZES } from '../../bench/reservation.ts';
import { emptyDatabase } from '../support/servers.ts';

describe('bench/reservation', function () {
  this.timeout(120_000);

  it('reserves and gives back in pools of each size', async () => {
    const costs = await measureReservations(await emptyDatabase(), 1);
    assert.deepEqual(
      costs.map(({ nodes }) => nodes),
      [...POOL_SIZES],
    );
    for (const { medianMs } of costs) assert.ok(medianMs.length === 1 && Number(medianMs[0]) > 0);
  });
});
