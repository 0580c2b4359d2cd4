import { ApplicationFailure } from '@temporalio/activity';
import type { Database } from '../prisma/client.ts';
import { readRequest } from '../prisma/requests.ts';
import { readNodeSituation, readRequestSituation } from '../prisma/situation.ts';
import { explainPoolNode, explainRequest } from '../protocol/explanation.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';

/**
 * Why a unit is where it is, for whoever has Temporal at hand: what the gateway's
 * `/v1/requests/{id}/explain` answers, without an account. It holds no payload and no secret.
 *
 * @throws ApplicationFailure `gateway.request_not_found`, final.
 */
export async function explainUnit(database: Database, unitId: string) {
  const record = await readRequest(database, unitId);
  if (!record)
    throw ApplicationFailure.nonRetryable('No such request.', 'gateway.request_not_found');
  return explainRequest(await readRequestSituation(database, record));
}

/**
 * Why a node has no work, or no more of it: `/v1/nodes/{id}/explain`.
 *
 * @throws ApplicationFailure `gateway.node_not_found`, final.
 */
export async function explainNode(database: Database, nodeId: string) {
  const situation = await readNodeSituation(database, nodeId, ONLINE_SECONDS);
  if (!situation)
    throw ApplicationFailure.nonRetryable('No such node is in the pool.', 'gateway.node_not_found');
  return explainPoolNode(situation);
}
