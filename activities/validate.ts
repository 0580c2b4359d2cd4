import type { KeyObject } from 'node:crypto';
import type { Ring, X25519Key } from '../crypto/keys.ts';
import { rsaPublicKeyFromBase64 } from '../crypto/keys.ts';
import { verifyProof } from '../crypto/prove.ts';
import { openReturn, readdressReturn } from '../crypto/return.ts';
import type { Database } from '../prisma/client.ts';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import { nodeReturnSchema } from '../protocol/execute-schema.ts';
import type { UnitId } from '../protocol/ids.ts';
import { checkProof } from '../protocol/prove.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { parseResult, type InferenceResult } from '../protocol/result.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import {
  checkResult,
  checkStream,
  checkTimes,
  returnBytesMax,
  type Expectation,
  type Relayed,
} from '../protocol/validate.ts';
import type { Sampling } from './sampling.ts';
import type { CheckerOrder } from './checkers.ts';
import type { Assignment } from './schedule.ts';
import { storeCheck, storeReturn } from './store-return.ts';

/** How far back a PoE is recognised as one of the same node's. */
const REPLAYED_DAYS = 7;

/** A return, and what it has to fit. */
export interface CheckInput {
  readonly unitId: UnitId;
  readonly dispatch: number;
  /** What the node was told: the dispatch number itself in runs that an earlier version began. */
  readonly attemptNumber: number | undefined;
  readonly node: Assignment;
  /** From an adversary: of any shape. */
  readonly returned: unknown;
  readonly request: Expectation;
}

export interface ValidateInput extends CheckInput {
  readonly request: Expectation &
    Pick<AcceptedInference, 'requesterKey' | 'price' | 'reservedWei' | 'delivery'>;
  /** Whether the attempt checks an earlier one: then it is a vote, and nothing is delivered. */
  readonly isCheck?: boolean;
}

export type ValidateResult =
  | {
      readonly kind: 'accepted';
      readonly usage: TokenUsage;
      readonly elapsedMs: number;
      /** There if the return was drawn to be checked: in which order nodes are asked to. */
      readonly checkerOrder?: CheckerOrder;
    }
  | { readonly kind: 'rejected'; readonly code: ErrorCode };

export interface CheckDependencies {
  readonly returnRing: Ring<X25519Key>;
  /** What was relayed of an attempt's stream; null when nobody here saw any. */
  readonly relayed: (unitId: UnitId, dispatch: number) => Relayed | null;
}

export interface ValidateDependencies extends CheckDependencies {
  readonly database: Database;
  readonly sampling: Sampling;
}

/**
 * Step 7, check 1 (spec step 07): rebuilds the PoE, verifies its signature, and looks at size,
 * schema, model, seed, bounds, stream and deadline. Only then is the PoE stored, which decides
 * whether the unit is checked by others, and the sealed result stored and announced. It opens the
 * result in memory; nothing of it is logged or kept in the clear.
 */
export async function validate(
  dependencies: ValidateDependencies,
  input: ValidateInput,
): Promise<ValidateResult> {
  const startedAt = performance.now();
  let checked: CheckedReturn;
  try {
    checked = await checkReturn(dependencies, input);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return { kind: 'rejected', code: await namedFault(dependencies.database, input, error.code) };
  }
  const { usage } = checked.result;
  if (input.isCheck) {
    const isStored = await storeCheck(dependencies.database, input, checked);
    if (!isStored) return { kind: 'rejected', code: 'validate.node_removed' };
    return { kind: 'accepted', usage, elapsedMs: performance.now() - startedAt };
  }
  const { requesterKey } = input.request;
  const sealed = checked.returned.sealedResult;
  const sealedResult = await readdressReturn(sealed, dependencies.returnRing, requesterKey);
  const stored = await storeReturn(dependencies, input, checked, sealedResult);
  if (stored === null) return { kind: 'rejected', code: 'validate.node_removed' };
  return {
    kind: 'accepted',
    usage,
    elapsedMs: performance.now() - startedAt,
    ...(stored.checkerOrder ? { checkerOrder: stored.checkerOrder } : {}),
  };
}

/**
 * A PoE that doesn't match its result, but is known here, is somebody's and was used before. A node
 * that came back with another engine or model while it had the unit has lost the unit: no proof of
 * it is bad.
 */
async function namedFault(
  database: Database,
  { unitId, node, returned, request }: ValidateInput,
  code: ErrorCode,
): Promise<ErrorCode> {
  if (code === 'poe.result_invalid')
    return (await isOther(database, node, request.modelDigest)) ? LOST : code;
  if (code !== 'poe.hash_mismatch') return code;
  const { poe } = returned as { readonly poe: string };
  const [found] = await database.$queryRaw<{ isOwn: boolean }[]>`
    SELECT node_id = ${node.nodeId} AS "isOwn" FROM proof WHERE unit_id = ${unitId} AND poe = ${poe}
    UNION ALL
    SELECT TRUE FROM dispatch JOIN proof USING (unit_id, dispatch)
    WHERE dispatch.node_id = ${node.nodeId} AND poe = ${poe}
      AND reserved_at > now() - make_interval(days => ${REPLAYED_DAYS}::int)
    LIMIT 1`;
  if (!found) return code;
  return found.isOwn ? 'poe.replayed' : 'poe.foreign_node';
}

const LOST: ErrorCode = 'execute.node_lost';

/** Whether a node has registered as something else since it was given a unit. */
async function isOther(
  database: Database,
  { nodeId, engine }: Assignment,
  modelDigest: string,
): Promise<boolean> {
  const [row] = await database.$queryRaw<{ isOther: boolean }[]>`
    SELECT engine <> coalesce(${engine ?? null}::text, engine) OR model_digest <> ${modelDigest}
      AS "isOther" FROM node WHERE id = ${nodeId}`;
  return row?.isOther ?? false;
}

/** A return that passed check 1. */
export interface CheckedReturn {
  readonly result: InferenceResult;
  readonly returned: ReturnType<typeof nodeReturnSchema.parse>;
  /** What was streamed of it; null when nobody here saw any. */
  readonly relayed: Relayed | null;
}

/**
 * Check 1 itself, which stores nothing.
 *
 * @param isCancelled whether the requester cancelled the attempt: then it may be cut short, and no
 *   deadline is left to miss.
 * @throws CodedError with the code of the first check that fails: a `poe.` one, or
 *   `node.deadline_exceeded`.
 */
export async function checkReturn(
  { returnRing, relayed }: CheckDependencies,
  { unitId, dispatch, attemptNumber = dispatch, node, returned, request }: CheckInput,
  isCancelled = false,
): Promise<CheckedReturn> {
  if (returned === undefined || returned === null) throw new CodedError('poe.missing');
  const parsed = nodeReturnSchema.safeParse(returned);
  if (!parsed.success) throw new CodedError('poe.malformed');
  const { scheme, poe, signature, sealedResult } = parsed.data;
  if (sealedResult.ciphertext.length > returnBytesMax(request.parameters))
    throw new CodedError('poe.oversize');
  const opened = await open(sealedResult, returnRing);
  // The ids are those that were dispatched; what the envelope claims must be the same.
  if (opened.nodeId !== node.nodeId) throw new CodedError('poe.foreign_node');
  if (opened.unitId !== unitId) throw new CodedError('poe.replayed');
  if (opened.dispatch !== attemptNumber) throw new CodedError('poe.malformed');
  const { resultBytes } = opened;
  const proof = checkProof({ scheme, poe, unitId, resultBytes, nodeId: node.nodeId });
  if (!proof.ok) throw new CodedError(proof.code);
  if (!verifyProof(signingKey(node), resultBytes, poe, signature))
    throw new CodedError('poe.bad_signature');
  const result = parseResult(resultBytes);
  const stream = relayed(unitId, dispatch);
  // A run that an earlier version began doesn't know what its node registered as.
  const fault =
    (node.engine !== undefined && result.engine !== node.engine ? 'poe.result_invalid' : null) ??
    checkResult(result, request, isCancelled) ??
    checkStream(result, stream) ??
    (isCancelled ? null : checkTimes(parsed.data, request.parameters));
  if (fault) throw new CodedError(fault);
  return { result, returned: parsed.data, relayed: stream };
}

async function open(sealedResult: unknown, returnRing: Ring<X25519Key>) {
  try {
    return await openReturn(sealedResult, returnRing);
  } catch (cause) {
    // Whatever is wrong with it, the node sealed it.
    throw new CodedError('poe.malformed', undefined, { cause });
  }
}

function signingKey(node: Assignment): KeyObject {
  return rsaPublicKeyFromBase64(node.signingKey);
}
