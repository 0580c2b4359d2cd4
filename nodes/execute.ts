import { ApplicationFailure, type Context } from '@temporalio/activity';
import type { NodeKeys } from '../crypto/keys.ts';
import { signProof } from '../crypto/prove.ts';
import { openRequest } from '../crypto/request.ts';
import { sealReturn } from '../crypto/return.ts';
import { createStreamSealer } from '../crypto/stream.ts';
import { openTicket } from '../crypto/ticket.ts';
import type { Ticket } from '../protocol/envelope-schema.ts';
import type { ExecuteInput, NODE_REPORTED_CODES, NodeReturn } from '../protocol/execute.ts';
import { POE_SCHEME, proofOfExecution } from '../protocol/prove.ts';
import { outputTokensMax, type RequesterKey } from '../protocol/receive.ts';
import {
  emptyStreamDigest,
  extendStreamDigest,
  resultBytes,
  type InferenceResult,
} from '../protocol/result.ts';
import { checkResult, checkTimes, returnBytesMax } from '../protocol/validate.ts';
import type { Attempt, Attempts } from './attempts.ts';
import {
  BackendFailedError,
  ContextExceededError,
  InvalidRequestError,
  type Backend,
  type Generation,
} from './backends/backend.ts';
import type { FrameStream } from './channel.ts';
import { generateChoices, outcomeOf } from './generate.ts';
import { parsePayload, type InferencePayload } from './payload.ts';

export interface ExecuteDependencies {
  readonly keys: NodeKeys;
  readonly backend: Backend;
  /** The coordinator's current return key. */
  readonly returnKey: () => RequesterKey;
  readonly openStream: (ticket: Ticket) => FrameStream;
  /** What runs here: heartbeats tell it, and the coordinator's commands cancel it. */
  readonly attempts: Attempts;
  /**
   * Told why the backend failed, for the operator's log: the coordinator only learns that it did.
   * No message of this error quotes a prompt or an answer.
   */
  readonly onBackendFailed?: (error: BackendFailedError) => void;
  /** Told what was counted of a result that is about to be returned. */
  readonly onResult?: (usage: InferenceResult['usage']) => void;
}

/** What Temporal has to say of one execution, and its sign of life. */
export interface ExecutionContext {
  /** Nobody there waits for the execution any more, for whatever reason. */
  readonly cancelled: AbortSignal;
  /** Whether the reason is that it was asked for: then what there is so far is wanted. */
  readonly isCancelRequested: () => boolean;
  readonly heartbeat: () => void;
}

/** The context of the Temporal activity that an execution is. */
export function executionContext(activity: Context): ExecutionContext {
  return {
    cancelled: activity.cancellationSignal,
    isCancelRequested: () => activity.cancellationDetails?.cancelRequested ?? false,
    heartbeat: () => activity.heartbeat(),
  };
}

interface Opened {
  readonly ticket: Ticket;
  readonly payload: InferencePayload;
  readonly payloadBytes: number;
}

const HEARTBEAT_MS = 2_000;

/**
 * Steps 5 and 6 on a node: decrypt, run, commit, sign, and seal the return to the requester and the
 * coordinator. The deadline timer starts once the payload is decrypted (spec step 05). Cancelled by
 * a command or in Temporal, it proves and returns what was made until then.
 *
 * @throws ApplicationFailure with a code of `NODE_REPORTED_CODES`.
 */
export async function execute(
  dependencies: ExecuteDependencies,
  input: ExecuteInput,
  context: ExecutionContext,
): Promise<NodeReturn> {
  const alive = setInterval(context.heartbeat, HEARTBEAT_MS);
  let stream: OutgoingStream | undefined;
  let attempt: Attempt | undefined;
  try {
    const opened = await openInput(dependencies, input);
    const decryptedAtMs = Date.now();
    const startedAt = performance.now();
    const begun = dependencies.attempts.begin(opened.ticket);
    attempt = begun;
    const deadline = AbortSignal.timeout(opened.ticket.deadlineSeconds * 1_000);
    const outgoing = await startStream(dependencies, input, opened.ticket);
    stream = outgoing;
    const generations = await generate(
      dependencies,
      input,
      opened,
      (delta) => outgoing.send(delta),
      AbortSignal.any([deadline, context.cancelled, begun.signal]),
    );
    // Not by the wall clock, which may jump; and what follows isn't a part of the execution.
    const finishedAtMs = decryptedAtMs + performance.now() - startedAt;
    const times = { decryptedAtMs, finishedAtMs };
    if (deadline.aborted || checkTimes(times, opened.ticket) !== null)
      throw failure('node.deadline_exceeded');
    const isCancelled = begun.signal.aborted || context.isCancelRequested();
    if (!isCancelled) context.cancelled.throwIfAborted();
    await outgoing.end();
    const outcome = { generations, streamDigest: outgoing.digest(), isCancelled };
    const bytes = commit(dependencies, input, opened, outcome);
    return await prove(dependencies, input, opened.ticket, bytes, times);
  } finally {
    clearInterval(alive);
    attempt?.end();
    // After an end this does nothing; after a failure it lets go of the connection.
    void stream?.close();
  }
}

async function openInput({ keys }: ExecuteDependencies, input: ExecuteInput): Promise<Opened> {
  const { privateKey } = keys.encryption;
  try {
    const [ticket, payload] = await Promise.all([
      openTicket(input.ticket, privateKey),
      openRequest(input.envelope, input.parameters, input.requesterKey, privateKey),
    ]);
    if (ticket.nodeId !== keys.nodeId) throw new Error('the ticket is for another node');
    return { ticket, payload: parsePayload(payload), payloadBytes: payload.length };
  } catch (error) {
    throw failure('dispatch.envelope_rejected', error);
  }
}

async function generate(
  { backend, onBackendFailed }: ExecuteDependencies,
  { parameters }: ExecuteInput,
  { ticket, payload }: Opened,
  onText: (delta: string) => void,
  signal: AbortSignal,
): Promise<readonly Generation[]> {
  const work = { payload, parameters, seed: ticket.seed };
  try {
    return await generateChoices(backend, work, onText, signal);
  } catch (error) {
    if (error instanceof ContextExceededError) throw failure('execute.context_exceeded', error);
    if (error instanceof InvalidRequestError) throw failure('execute.invalid_request', error);
    if (error instanceof BackendFailedError) onBackendFailed?.(error);
    throw failure('execute.backend_failed', error);
  }
}

/** What came of a generation, and of its stream. */
interface Outcome {
  readonly generations: readonly Generation[];
  readonly streamDigest: string;
  /** Whether it may have been cut short. */
  readonly isCancelled: boolean;
}

/**
 * The result's bytes, once they are what Validate takes. A backend that counts wrongly is told from
 * a node that lies only here, where it is not too late.
 */
function commit(
  { backend, onBackendFailed, onResult }: ExecuteDependencies,
  { parameters }: ExecuteInput,
  { ticket, payloadBytes }: Opened,
  { generations, streamDigest, isCancelled }: Outcome,
): Uint8Array {
  const { seed } = ticket;
  const modelDigest = backend.model.digest;
  const result: InferenceResult = {
    v: 1,
    modelDigest,
    engine: backend.engine,
    seed,
    ...outcomeOf(generations),
    streamDigest,
  };
  const bytes = resultBytes(result);
  const fits = (bytes.length * 4) / 3 <= returnBytesMax(parameters);
  const expected = { parameters, modelDigest, seed, payloadBytes };
  if (fits && checkResult(result, expected, isCancelled) === null) {
    onResult?.(result.usage);
    return bytes;
  }
  const { promptTokens, completionTokens } = result.usage;
  const ends = generations.map(({ finishReason }) => finishReason).join(', ');
  const error = new BackendFailedError(
    `The backend counted ${promptTokens} prompt tokens of ${payloadBytes} bytes and ` +
      `${completionTokens} of at most ${outputTokensMax(parameters)} completion tokens, for a ` +
      `result of ${bytes.length} bytes that ended with ${ends}. Nobody would take that.`,
  );
  onBackendFailed?.(error);
  throw failure('execute.backend_failed', error);
}

interface OutgoingStream {
  send(delta: string): void;
  /** Says that the text is complete, and waits until it was taken. */
  end(): Promise<void>;
  close(): Promise<void>;
  /** Of what was said so far. */
  digest(): string;
}

/** The stream of one attempt, or one that goes nowhere if nobody asked for it. */
async function startStream(
  { keys, returnKey, openStream }: ExecuteDependencies,
  { requesterKey }: ExecuteInput,
  ticket: Ticket,
): Promise<OutgoingStream> {
  let digest = emptyStreamDigest;
  const nothing = async () => {};
  if (!ticket.stream) return { send: () => {}, end: nothing, close: nothing, digest: () => digest };
  const { unitId, dispatch } = ticket;
  const { nodeId } = keys;
  const attempt = { unitId, dispatch, nodeId, requesterKey, returnKey: returnKey() };
  const sealer = await createStreamSealer(attempt);
  const frames = openStream(ticket);
  frames.send(sealer.keyFrame);
  return {
    send(delta: string) {
      digest = extendStreamDigest(digest, delta);
      frames.send(sealer.delta(delta));
    },
    async end() {
      frames.send(sealer.end());
      await frames.close();
    },
    close: () => frames.close(),
    digest: () => digest,
  };
}

/** Step 6. The commitment and its signature say who returned what, not that it is right. */
async function prove(
  { keys, returnKey }: ExecuteDependencies,
  { requesterKey }: ExecuteInput,
  { unitId, dispatch }: Ticket,
  bytes: Uint8Array,
  times: Pick<NodeReturn, 'decryptedAtMs' | 'finishedAtMs'>,
): Promise<NodeReturn> {
  const startedAt = performance.now();
  const { nodeId, signing } = keys;
  const poe = proofOfExecution(unitId, bytes, nodeId);
  const signature = await signProof(signing.privateKey, bytes, poe);
  const proveElapsedMs = performance.now() - startedAt;
  const attempt = { unitId, dispatch, nodeId, requesterKey, returnKey: returnKey() };
  const sealedResult = await sealReturn({ ...attempt, resultBytes: bytes });
  return { scheme: POE_SCHEME, poe, signature, sealedResult, ...times, proveElapsedMs };
}

/** The message stays on the node: it may quote what the payload says. */
function failure(code: (typeof NODE_REPORTED_CODES)[number], cause?: unknown): ApplicationFailure {
  return ApplicationFailure.create({
    type: code,
    message: code,
    nonRetryable: true,
    ...(cause instanceof Error ? { details: [cause.name] } : {}),
  });
}
