import type { NodeSituationRows, RequestSituation } from '../protocol/explanation.ts';
import type { Database } from './client.ts';
import {
  countWaiting,
  readAttempts,
  readNode,
  readNodeAttempts,
  readNodesBefore,
  readPool,
  readQueuePlace,
  readTransitions,
} from './pool.ts';
import type { RequestRecord } from './requests.ts';

/** How far back a node's attempts are looked at. */
const NODE_ATTEMPTS_MAX = 20;
/** How many nodes that get work before another one are named. */
const NODES_BEFORE_MAX = 10;
/** How many changes of a node's presence are told. */
const NODE_EVENTS_MAX = 10;

/** What explains where a request is: the pool as it is now, its attempts, its place if it waits. */
export async function readRequestSituation(
  database: Database,
  record: RequestRecord,
): Promise<RequestSituation> {
  const { id, parameters } = record;
  const [pool, attempts, place, model] = await Promise.all([
    readPool(database),
    readAttempts(database, id),
    readQueuePlace(database, id),
    database.model.findUnique({ where: { id: parameters.model } }),
  ]);
  return { record, pool, attempts, place: place ?? null, modelDigest: model?.digest ?? '' };
}

/**
 * What explains why a node has no work, or no more of it.
 *
 * @param onlineSeconds since a heartbeat, within which a node counts as online.
 * @returns undefined when no node of that id ever registered.
 */
export async function readNodeSituation(
  database: Database,
  id: string,
  onlineSeconds: number,
): Promise<NodeSituationRows | undefined> {
  const node = await readNode(database, id);
  if (!node) return undefined;
  const [attempts, waiting, models, others, transitions] = await Promise.all([
    readNodeAttempts(database, id, NODE_ATTEMPTS_MAX),
    countWaiting(database, node),
    database.model.count({ where: { digest: node.modelDigest } }),
    readNodesBefore(database, node, onlineSeconds, NODES_BEFORE_MAX),
    readTransitions(database, id, NODE_EVENTS_MAX),
  ]);
  return { node, attempts, waiting, modelServed: models > 0, others, transitions };
}
