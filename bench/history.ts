import { Client, Connection } from '@temporalio/client';
import type { Cluster } from './cluster.ts';
import { requestOnce, runScenario, type Scenario } from './scenarios.ts';

/** Events in the history of one run of each scenario. */
export async function historyEventsOf(cluster: Cluster): Promise<Record<Scenario, number>> {
  const plain = await floorEvents(cluster, 'plain');
  const rsa = await floorEvents(cluster, 'rsa');
  const { requestId } = await requestOnce(cluster);
  const connection = await Connection.connect({ address: cluster.temporalAddress });
  try {
    const handle = new Client({ connection }).workflow.getHandle(requestId);
    await handle.result();
    const { events } = await handle.fetchHistory();
    return { plain, rsa, full: events?.length ?? 0 };
  } finally {
    await connection.close();
  }
}

async function floorEvents(cluster: Cluster, kind: 'plain' | 'rsa'): Promise<number> {
  const { historyEvents } = await runScenario(cluster, kind, { inFlight: 1, seconds: 0.01 });
  return historyEvents ?? 0;
}
