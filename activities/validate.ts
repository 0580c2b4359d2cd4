import type { KeyObject } from 'node:crypto';
import type { Ring, X25519Key } from '../crypto/keys.ts';
import { rsaPublicKeyFromBase64 } from '../crypto/keys.ts';
import { verifyProof } from '../crypto/prove.ts';
import { openReturn, readdressReturn } from '../crypto/return.ts';
import type { Database } from '../prisma/client.ts';
import { OUTCOME_CHANNEL } from '../prisma/outcomes.ts';
import type { ReturnEnvelope } from '../protocol/envelope.ts';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import { nodeReturnSchema } from '../protocol/execute-schema.ts';
import type { UnitId } from '../protocol/ids.ts';
import { checkProof } from '../protocol/prove.ts';
import { complexityTokens, type AcceptedInference } from '../protocol/receive.ts';
import { parseResult, type InferenceResult } from '../protocol/result.ts';
import { dueWei, type TokenUsage } from '../protocol/settle.ts';
import {
  checkResult,
  checkStream,
  checkTimes,
  returnBytesMax,
  type Expectation,
  type Relayed,
} from '../protocol/validate.ts';
import type { Assignment } from './schedule.ts';

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
  readonly request: Expectation & Pick<AcceptedInference, 'requesterKey' | 'price' | 'reservedWei'>;
}

export type ValidateResult =
  | { readonly kind: 'accepted'; readonly usage: TokenUsage; readonly elapsedMs: number }
  | { readonly kind: 'rejected'; readonly code: ErrorCode };

export interface CheckDependencies {
  readonly returnRing: Ring<X25519Key>;
  /** What was relayed of an attempt's stream; null when nobody here saw any. */
  readonly relayed: (unitId: UnitId, dispatch: number) => Relayed | null;
}

export interface ValidateDependencies extends CheckDependencies {
  readonly database: Database;
}

/**
 * Step 7, check 1 (spec step 07): rebuilds the PoE, verifies its signature, and looks at size,
 * schema, model, seed, bounds, stream and deadline. Only then is the sealed result stored and
 * announced. It opens the result in memory; nothing of it is logged or kept in the clear.
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
    return { kind: 'rejected', code: error.code };
  }
  const { requesterKey } = input.request;
  const sealed = checked.returned.sealedResult;
  const sealedResult = await readdressReturn(sealed, dependencies.returnRing, requesterKey);
  await store(dependencies.database, input, checked, sealedResult);
  const { usage } = checked.result;
  return { kind: 'accepted', usage, elapsedMs: performance.now() - startedAt };
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
  const parsed = nodeReturnSchema.safeParse(returned);
  if (!parsed.success) throw new CodedError('poe.malformed');
  const { scheme, poe, signature, sealedResult } = parsed.data;
  if (sealedResult.ciphertext.length > returnBytesMax(request.parameters.maxTokens))
    throw new CodedError('poe.oversize');
  const opened = await open(sealedResult, returnRing);
  // The ids are those that were dispatched; what the envelope claims must be the same.
  const isSame = opened.unitId === unitId && opened.nodeId === node.nodeId;
  if (!isSame || opened.dispatch !== attemptNumber) throw new CodedError('poe.malformed');
  const { resultBytes } = opened;
  const proof = checkProof({ scheme, poe, unitId, resultBytes, nodeId: node.nodeId });
  if (!proof.ok) throw new CodedError(proof.code);
  if (!verifyProof(signingKey(node), resultBytes, poe, signature))
    throw new CodedError('poe.bad_signature');
  const result = parseResult(resultBytes);
  const stream = relayed(unitId, dispatch);
  const fault =
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

async function store(
  database: Database,
  input: ValidateInput,
  checked: CheckedReturn,
  sealedResult: ReturnEnvelope,
): Promise<void> {
  const { unitId, dispatch, node } = input;
  const { scheme, poe, signature, decryptedAtMs, finishedAtMs } = checked.returned;
  const proof = { scheme, poe, signature, node: node.nodeId, dispatch };
  const due = dueWei(checked.result.usage, input.request);
  const { completionTokens } = checked.result.usage;
  const tokens = complexityTokens(input.request.payloadBytes, completionTokens);
  await database.$queryRaw`
    WITH decided AS (
      UPDATE dispatch SET outcome = 'accepted', decided_at = now(),
        decrypted_at = ${new Date(decryptedAtMs)}, finished_at = ${new Date(finishedAtMs)}
      WHERE unit_id = ${unitId} AND dispatch = ${dispatch} AND outcome IS NULL
      RETURNING extract(epoch FROM now() - reserved_at)::float8 AS seconds),
    validated AS (
      UPDATE request SET status = 'validated', validated_at = now(),
        sealed_result = ${JSON.stringify(sealedResult)}::jsonb,
        proof = ${JSON.stringify(proof)}::jsonb, due_wei = ${due.toString()}::numeric
      WHERE id = ${unitId} AND status IN ('accepted', 'running'))
    SELECT release_slot(${unitId}, ${dispatch}::int),
           measure_node(${node.nodeId}, ${tokens}::float8, (SELECT seconds FROM decided)),
           pg_notify(${OUTCOME_CHANNEL}, ${unitId})::text`;
}
