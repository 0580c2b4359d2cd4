import assert from 'node:assert/strict';
import { openDatabase, type Database } from '../../prisma/client.ts';
import { CoordinatorMetrics } from '../../workers/coordinator-metrics.ts';
import { samplesOf } from '../support/metrics.ts';

describe('workers/coordinator-metrics', () => {
  it('says that the database is away, instead of failing', async () => {
    // Nothing listens there.
    const database: Database = openDatabase('postgresql://nobody@127.0.0.1:9/none');
    const relay = { framesRelayed: 7, keptBytes: 0 };
    const metrics = new CoordinatorMetrics(relay as never, database);
    const samples = samplesOf(await metrics.registry.metrics());
    assert.equal(samples.get('plx_coordinator_database_up'), 0);
    assert.ok(Number.isNaN(samples.get('plx_coordinator_waiting_units')));
    assert.equal(samples.get('plx_coordinator_frames_relayed_total'), 7);
  });
});
