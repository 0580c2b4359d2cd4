import { randomBytes, randomInt } from 'node:crypto';
import { generateX25519Key } from '../crypto/keys.ts';
import { rewrapRequest, sealRequest } from '../crypto/request.ts';
import { inTransaction, sql, type Database } from '../prisma/client.ts';
import { openUptime } from '../prisma/uptime.ts';
import { canonicalBytes } from '../protocol/canonical.ts';
import { withNodeRecipient, wrapRecipient } from '../protocol/envelope.ts';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import type { ExecuteInput } from '../protocol/execute.ts';
import { formatRequestId, type NodeId } from '../protocol/ids.ts';
import {
  CANARY_DEADLINE_SECONDS,
  CANARY_LOST_SECONDS,
  CANARY_MAX_TOKENS,
  probeBackoffSeconds,
} from '../protocol/measure.ts';
import { OUTAGE_SECONDS } from '../protocol/outage.ts';
import { complexityTokens, SEED_END, type RequestParameters } from '../protocol/receive.ts';
import { assignment, type AssignmentRow } from './assignment.ts';
import { canaryPrompt } from './canary-prompt.ts';
import { dispatch, type DispatchDependencies } from './dispatch.ts';
import { checkReturn, type CheckDependencies, type CheckInput } from './validate.ts';

/**
 * How long before a canary counts as lost its node was seen to be idle. A slot that was being
 * reserved at that moment didn't show yet.
 */
const SINCE_CHOSEN_SECONDS = CANARY_LOST_SECONDS + 1;

export interface CanaryInput {
  readonly nodeId: NodeId;
  /** The node's canary of this number, and no other, counts. */
  readonly probe: number;
}

/** A canary that is ready to be sent, and what its return has to fit. */
export interface PreparedCanary extends Omit<CheckInput, 'returned'> {
  readonly execute: ExecuteInput;
  /** Milliseconds since the epoch, by the database's clock. */
  readonly startedAtMs: number;
}

/** What came of a canary: a return, of any shape, or the code of why there is none. */
export interface CanaryReturn extends CanaryInput, Omit<PreparedCanary, 'execute'> {
  readonly returned?: unknown;
  readonly failure?: ErrorCode;
}

export type CanaryOutcome =
  | { readonly kind: 'passed'; readonly tier: number; readonly tokensPerSecond: number }
  | {
      readonly kind: 'failed';
      readonly code: 'node.canary_failed';
      readonly reason: ErrorCode;
      readonly nextTryInSeconds: number;
    }
  /** Nothing counts: the node isn't waiting for it any more, or an outage or work fell into it. */
  | { readonly kind: 'superseded' };

export interface CanaryDependencies extends DispatchDependencies, CheckDependencies {
  readonly database: Database;
}

interface NodeRow extends AssignmentRow {
  model_id: string;
  model_digest: string;
  started_at_ms: number;
}

/** Whether a node waits for the outcome of its canary of that number. */
function awaits(nodeId: NodeId, probe: number) {
  return sql`id = ${nodeId} AND status IN ('probing', 'active') AND probe = ${probe}
    AND probe_until IS NOT NULL`;
}

/**
 * Draws a small request for one node and seals it as any other: to the node it has the form of
 * work. Nobody is charged for it, and it takes up no slot: a node that is probing has none to give,
 * and one that is active is idle. Run again, it draws another; only what comes of one of them
 * counts.
 *
 * @returns null when the node isn't waiting for this canary any more.
 */
export async function prepareCanary(
  dependencies: CanaryDependencies,
  { nodeId, probe }: CanaryInput,
): Promise<PreparedCanary | null> {
  const [row] = await dependencies.database.$queryRaw<NodeRow[]>`
    SELECT id, operator_id, engine, model_id, model_digest, encryption_key, signing_key,
           extract(epoch FROM now())::float8 * 1000 AS started_at_ms
    FROM node WHERE ${awaits(nodeId, probe)}`;
  if (!row) return null;
  const parameters: RequestParameters = {
    workloadClass: 'ai.inference',
    model: row.model_id,
    hardwareTier: 1,
    priority: 'standard',
    deadlineSeconds: CANARY_DEADLINE_SECONDS,
    maxTokens: CANARY_MAX_TOKENS,
    stream: false,
    seed: null,
  };
  const unitId = formatRequestId(randomBytes(32));
  const attempt = { unitId, dispatch: 1, node: assignment(row) };
  const seed = randomInt(SEED_END);
  const messages = [{ role: 'user', content: canaryPrompt() }];
  const payload = canonicalBytes({ messages, temperature: 1, topP: 1, stop: [] });
  // Its requester is nobody: what the node seals to this key only the coordinator reads.
  const nobody = await generateX25519Key();
  const requesterKey = nobody.publicJwk;
  const sealing = { plaintext: payload, parameters, requesterKey, intakeKey: requesterKey };
  const sealed = await sealRequest(sealing);
  const envelope = rewrapRequest(sealed, [nobody], dependencies.wrapRing);
  const wrappedKey = wrapRecipient(envelope);
  const request = { parameters, seed, wrappedKey };
  const { encryptedKey, kid, ticket, attemptNumber } = await dispatch(dependencies, {
    ...attempt,
    request,
  });
  return {
    ...attempt,
    attemptNumber,
    request: { parameters, modelDigest: row.model_digest, seed, payloadBytes: payload.length },
    execute: {
      envelope: withNodeRecipient(envelope, encryptedKey, kid),
      ticket,
      parameters,
      requesterKey,
    },
    startedAtMs: row.started_at_ms,
  };
}

/**
 * Looks at what came of a canary as Validate does, and writes down what follows: the node is
 * measured and active, or probing and waits for its next canary. Once, however often it runs.
 */
export async function concludeCanary(
  dependencies: CanaryDependencies,
  input: CanaryReturn,
): Promise<CanaryOutcome> {
  if (await saysNothing(dependencies.database, input)) return { kind: 'superseded' };
  try {
    if (input.failure) throw new CodedError(input.failure);
    const { result } = await checkReturn(dependencies, { ...input, returned: input.returned });
    const { completionTokens } = result.usage;
    // An answer without a token takes no time, and shows nothing.
    if (completionTokens === 0) throw new CodedError('poe.result_invalid');
    const tokens = complexityTokens(input.request.payloadBytes, completionTokens);
    return await pass(dependencies.database, input, tokens);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return fail(dependencies.database, input, error.code);
  }
}

/**
 * A canary that shares a moment with an outage says nothing of its node, as with any attempt: its
 * seconds would be the network's, and a node that is taken for that slow gets no work to show
 * otherwise. So does one of an active node that got work since it was chosen for being idle: that
 * work measures it.
 *
 * @returns whether it was one; the node is due for the next one then.
 */
async function saysNothing(
  database: Database,
  { nodeId, probe, startedAtMs }: CanaryReturn,
): Promise<boolean> {
  const due = await database.$executeRaw`
    UPDATE node SET probe_until = NULL, probe_after = now()
    WHERE ${awaits(nodeId, probe)}
      AND (EXISTS (SELECT FROM outage
                   WHERE ended_at >= to_timestamp(${startedAtMs}::float8 / 1000))
           OR EXISTS (SELECT FROM pulse
                      WHERE beat_at < now() - make_interval(secs => ${OUTAGE_SECONDS}::float8))
           OR (status = 'active' AND EXISTS (
                 SELECT FROM dispatch WHERE dispatch.node_id = node.id AND reserved_at
                   > probe_until - make_interval(secs => ${SINCE_CHOSEN_SECONDS}::float8))))`;
  return due > 0;
}

function pass(
  database: Database,
  { nodeId, probe, startedAtMs }: CanaryReturn,
  tokens: number,
): Promise<CanaryOutcome> {
  return inTransaction(database, async (transaction) => {
    const passed = await transaction.$executeRaw`
      UPDATE node SET status = 'active', probe_failures = 0, probe_code = NULL, probe_until = NULL
      WHERE ${awaits(nodeId, probe)}`;
    if (passed === 0) return { kind: 'superseded' };
    await openUptime(transaction, nodeId);
    await transaction.$queryRaw`
      SELECT measure_node(${nodeId}, ${tokens}::float8,
        extract(epoch FROM now())::float8 - ${startedAtMs}::float8 / 1000, TRUE)`;
    const [node] = await transaction.$queryRaw<{ tier: number; tokens_per_second: number }[]>`
      SELECT tier, tokens_per_second FROM node WHERE id = ${nodeId}`;
    if (!node) throw new Error(`${nodeId} was just changed and isn't there`);
    return { kind: 'passed', tier: node.tier, tokensPerSecond: node.tokens_per_second };
  });
}

function fail(
  database: Database,
  { nodeId, probe }: CanaryReturn,
  reason: ErrorCode,
): Promise<CanaryOutcome> {
  return inTransaction(database, async (transaction) => {
    const [failed] = await transaction.$queryRaw<{ failures: number; known: string | null }[]>`
      SELECT probe_failures + 1 AS failures, probe_code AS known FROM node
      WHERE ${awaits(nodeId, probe)} FOR UPDATE`;
    if (!failed) return { kind: 'superseded' };
    const nextTryInSeconds = probeBackoffSeconds(failed.failures);
    await transaction.$executeRaw`
      UPDATE node SET status = 'probing', probe_code = ${reason},
        probe_failures = ${failed.failures}, probe_until = NULL,
        probe_after = now() + make_interval(secs => ${nextTryInSeconds}::float8)
      WHERE id = ${nodeId}`;
    // What goes on as it was isn't news.
    if (failed.known !== reason)
      await transaction.$executeRaw`
        INSERT INTO node_transition (node_id, code) VALUES (${nodeId}, 'node.canary_failed')`;
    return { kind: 'failed', code: 'node.canary_failed', reason, nextTryInSeconds };
  });
}
