import type { KeyObject } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/activity';
import { attemptNumber, makeChannelToken } from '../crypto/channel.ts';
import { EnvelopeError } from '../crypto/errors.ts';
import { rsaPublicKeyFromBase64, type Ring, type WrapKey } from '../crypto/keys.ts';
import { dispatchContentKey } from '../crypto/dispatch.ts';
import { sealTicket } from '../crypto/ticket.ts';
import type { WrapRecipient } from '../protocol/envelope.ts';
import type { UnitId } from '../protocol/ids.ts';
import type { RequestParameters } from '../protocol/receive.ts';
import type { Assignment } from './schedule.ts';

export interface DispatchInput {
  readonly unitId: UnitId;
  readonly dispatch: number;
  readonly node: Assignment;
  /** Whether its result is only compared with another's: then nobody gets what it streams. */
  readonly isCheck?: boolean;
  readonly request: {
    readonly parameters: RequestParameters;
    readonly seed: number;
    readonly wrappedKey: WrapRecipient;
  };
}

/** What the workflow assembles the node's envelope from: the payload itself isn't copied. */
export interface DispatchResult {
  readonly encryptedKey: string;
  readonly kid: string;
  readonly ticket: string;
  /** What the node was told instead of the dispatch number, and has to name in its return. */
  readonly attemptNumber: number;
  readonly elapsedMs: number;
}

export interface DispatchDependencies {
  readonly wrapRing: Ring<WrapKey>;
  readonly channelSecret: KeyObject;
}

/**
 * Step 4: seals the request's content key, and a ticket, to one node (spec step 04). The payload
 * isn't decrypted. Sealing is randomised, so a rerun gives other bytes for the same content. To the
 * node every attempt looks alike, whether it is the first, another one, or a check.
 *
 * @throws ApplicationFailure `coordinator.internal`, final, when the ring lost the wrapping key.
 */
export async function dispatch(
  { wrapRing, channelSecret }: DispatchDependencies,
  input: DispatchInput,
): Promise<DispatchResult> {
  const startedAt = performance.now();
  const { unitId, node, request, isCheck = false } = input;
  const nodeKey = rsaPublicKeyFromBase64(node.encryptionKey);
  const number = attemptNumber(channelSecret, unitId, input.dispatch);
  const attempt = { unitId, dispatch: number, nodeId: node.nodeId };
  try {
    const encryptedKey = dispatchContentKey(request.wrappedKey, wrapRing, nodeKey);
    const ticket = sealTicket(
      {
        ...attempt,
        deadlineSeconds: request.parameters.deadlineSeconds,
        seed: request.seed,
        stream: request.parameters.stream,
        channelToken: makeChannelToken(channelSecret, attempt, isCheck),
      },
      nodeKey,
    );
    const elapsedMs = performance.now() - startedAt;
    return { encryptedKey, kid: node.nodeId, ticket, attemptNumber: number, elapsedMs };
  } catch (error) {
    if (!(error instanceof EnvelopeError)) throw error;
    throw ApplicationFailure.nonRetryable(error.message, 'coordinator.internal');
  }
}
