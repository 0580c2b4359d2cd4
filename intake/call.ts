import type { Client } from '@temporalio/client';
import type { Logger } from 'pino';
import { receive, type ReceiveKeys } from '../activities/receive.ts';
import type { Database } from '../prisma/client.ts';
import type { OutcomeListener } from '../prisma/outcomes.ts';
import { isAnswerable, readRequest, type RequestRecord } from '../prisma/requests.ts';
import { shortId } from '../protocol/ids.ts';
import type { IntakeEvent, IntakeOutcome } from '../protocol/intake.ts';
import type { IntakeCall } from '../protocol/receive.ts';
import type { Relay } from './relay.ts';
import { startInference } from './start.ts';

/** After the database didn't answer. */
const LOOK_AGAIN_MS = 1_000;

export interface IntakeDependencies {
  readonly database: Database;
  readonly keys: ReceiveKeys;
  readonly client: Client;
  readonly outcomes: OutcomeListener;
  readonly relay: Relay;
  readonly log: Logger;
}

/**
 * One intake call from acceptance to outcome: reserves and allocates, starts the workflow, and
 * passes on what comes of it. If the caller goes away the request goes on; a call repeated with the
 * same intake key joins it.
 *
 * @param emit takes each event in order; see `IntakeEvent`.
 * @param signal aborted when the caller has gone.
 * @throws CodedError before anything was emitted, when the request isn't accepted.
 */
export async function serveIntakeCall(
  dependencies: IntakeDependencies,
  call: IntakeCall,
  emit: (event: IntakeEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const { database, keys, client, relay, log } = dependencies;
  const { accepted, isJoined } = await receive(database, keys, call);
  const { requestId } = accepted;
  log.info(
    { request: shortId(requestId), account: call.accountId, reservedWei: accepted.reservedWei },
    'coordinator // receive: accepted',
  );
  emit({ type: 'accepted', requestId });
  // Subscribed before the start, so that no frame and no outcome can come too early.
  const unsubscribe = relay.subscribe(requestId, (frame) => emit({ type: 'frame', ...frame }));
  try {
    const answerable = whenAnswerable(dependencies, requestId, isJoined, signal);
    await startInference(client, accepted);
    const record = await answerable;
    if (record) emit(outcomeOf(record));
  } finally {
    unsubscribe();
  }
}

/** What the requester is told of a request that has a result, or ended without one. */
function outcomeOf(record: RequestRecord): IntakeOutcome {
  const { sealedResult, proof, failureCode } = record;
  if (sealedResult && proof)
    return {
      type: 'outcome',
      state: 'validated',
      sealedResult,
      node: proof.node,
      dispatch: proof.dispatch,
    };
  return { type: 'outcome', state: 'failed', code: failureCode ?? 'coordinator.internal' };
}

/**
 * Waits for news of one request; nothing is polled. Undefined when the caller has gone.
 *
 * @param isJoined whether there may have been news before.
 */
function whenAnswerable(
  { database, outcomes, log }: IntakeDependencies,
  requestId: string,
  isJoined: boolean,
  signal: AbortSignal,
): Promise<RequestRecord | undefined> {
  return new Promise((resolve) => {
    const end = (record?: RequestRecord) => {
      unsubscribe();
      signal.removeEventListener('abort', onAbort);
      resolve(record);
    };
    const onAbort = () => end();
    const look = () => {
      readRequest(database, requestId).then(
        (record) => record && isAnswerable(record) && end(record),
        (error: unknown) => {
          // The request goes on whether or not its row can be read just now.
          log.warn(
            { error: String(error) },
            'coordinator // outcome not readable, will look again',
          );
          if (!signal.aborted) setTimeout(look, LOOK_AGAIN_MS);
        },
      );
    };
    const unsubscribe = outcomes.subscribe(requestId, look);
    signal.addEventListener('abort', onAbort);
    if (isJoined) look();
  });
}
