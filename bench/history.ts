import { Client, Connection } from '@temporalio/client';
import { DIRECT_MODEL_ID, type Cluster } from './cluster.ts';
import { requestOnce, runScenario, type Scenario } from './scenarios.ts';

/** Events in the history of one run of each scenario. */
export async function historyEventsOf(cluster: Cluster): Promise<Record<Scenario, number>> {
  const plain = await floorEvents(cluster, 'plain');
  const rsa = await floorEvents(cluster, 'rsa');
  const direct = await requestEvents(cluster, { model: DIRECT_MODEL_ID });
  const full = await requestEvents(cluster, {});
  return { plain, rsa, direct, full };
}

async function requestEvents(cluster: Cluster, changed: object): Promise<number> {
  const { requestId } = await requestOnce(cluster, changed);
  const connection = await Connection.connect({ address: cluster.temporalAddress });
  try {
    const handle = new Client({ connection }).workflow.getHandle(requestId);
    await handle.result();
    const { events } = await handle.fetchHistory();
    return events?.length ?? 0;
  } finally {
    await connection.close();
  }
}

async function floorEvents(cluster: Cluster, kind: 'plain' | 'rsa'): Promise<number> {
  const { historyEvents } = await runScenario(cluster, kind, { inFlight: 1, seconds: 0.01 });
  return historyEvents ?? 0;
}
