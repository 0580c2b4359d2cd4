import type { DispatchEnvelope, ReturnEnvelope } from './envelope.ts';
import type { ErrorCode } from './errors.ts';
import type { RequestParameters, RequesterKey } from './receive.ts';

/** The durable limits around one execution, in milliseconds. */
export interface ExecuteLimits {
  /** From scheduling to pickup: a node that doesn't poll is gone. */
  readonly scheduleToStartMs: number;
  /** From pickup to return: the guarantee, since a node may lie about when it decrypted. */
  readonly startToCloseMs: number;
  /** Between two signs of life. */
  readonly heartbeatMs: number;
}

const SECOND = 1_000;
/** What opening the envelope may take before the node's own deadline timer starts. */
const DECRYPT_ALLOWANCE_MS = SECOND;
/** The slowest download of a payload that is tolerated: 1 MB/s. */
const TRANSFER_BYTES_PER_MS = 1_000;

/**
 * Limits of one execution. The sharp timer is the node's own and starts at decrypt (spec step 05);
 * these start earlier and so add what may pass before it.
 */
export function executeLimits(deadlineSeconds: number, payloadBytes: number): ExecuteLimits {
  const transferMs = Math.ceil(payloadBytes / TRANSFER_BYTES_PER_MS);
  return {
    scheduleToStartMs: 2 * SECOND,
    startToCloseMs: deadlineSeconds * SECOND + DECRYPT_ALLOWANCE_MS + transferMs,
    heartbeatMs: 10 * SECOND,
  };
}

/**
 * Codes that a node may report of itself. Anything else it says is taken as a backend failure, so
 * that no node can pick a code that blames others or ends the request.
 */
export const NODE_REPORTED_CODES = [
  'node.deadline_exceeded',
  'dispatch.envelope_rejected',
  'execute.backend_failed',
  'execute.context_exceeded',
  'execute.invalid_request',
] as const satisfies readonly ErrorCode[];

/** Codes by which the edge itself fails a task; it lets no node say one of them. */
export const EDGE_REPORTED_CODES = [
  'edge.undelivered',
  'execute.node_lost',
] as const satisfies readonly ErrorCode[];

/** The code that a node's word is taken for, whatever it said. */
export function nodeReportedCode(
  type: string | null | undefined,
): (typeof NODE_REPORTED_CODES)[number] {
  return NODE_REPORTED_CODES.find((code) => code === type) ?? 'execute.backend_failed';
}

/** The code to record for a failure type that came by way of the edge. */
export function reportedCode(type: string | null | undefined): ErrorCode {
  return EDGE_REPORTED_CODES.find((code) => code === type) ?? nodeReportedCode(type);
}

/**
 * What a node returns from `execute`: the sealed result, and the PoE beside it. All of it comes
 * from an adversary until Validate has looked at it.
 */
export interface NodeReturn {
  readonly scheme: string;
  /** The 32-byte commitment, in hex. */
  readonly poe: string;
  /** base64url of the RSASSA-PKCS1-v1_5 signature over result ‖ poe. */
  readonly signature: string;
  readonly sealedResult: ReturnEnvelope;
  /**
   * Milliseconds since the epoch, by the node's own clock: its word, which counts against it only.
   */
  readonly decryptedAtMs: number;
  readonly finishedAtMs: number;
  /** Time spent on commitment and signature. */
  readonly proveElapsedMs: number;
}

/** What a node is given: all of it is for this node and this attempt only. */
export interface ExecuteInput {
  /** The payload, its content key sealed to the node (RFC 7516, one RSA-OAEP-256 recipient). */
  readonly envelope: DispatchEnvelope;
  /** A small JWE to the node: unit, attempt, deadline, seed, stream authorisation. */
  readonly ticket: string;
  /** In the clear; the envelope's seal covers them. */
  readonly parameters: RequestParameters;
  readonly requesterKey: RequesterKey;
}

/** The activities that a node's Temporal worker offers. */
export interface NodeActivities {
  execute(input: ExecuteInput): Promise<NodeReturn>;
}

/**
 * How long a node says that it took, for display: nothing depends on it. Whatever it sent, these
 * are finite numbers, so that no node can trip the workflow that reads them.
 */
export function reportedTimes(returned: unknown): {
  readonly executeElapsedMs: number;
  readonly proveElapsedMs: number;
} {
  const times = (returned ?? {}) as Partial<Record<keyof NodeReturn, unknown>>;
  return {
    executeElapsedMs: duration(number(times.finishedAtMs) - number(times.decryptedAtMs)),
    proveElapsedMs: duration(number(times.proveElapsedMs)),
  };
}

/** Without conversion: `{"toString": 1}` can't be converted, and trying to would throw. */
function number(value: unknown): number {
  return typeof value === 'number' ? value : NaN;
}

function duration(elapsedMs: number): number {
  return Number.isFinite(elapsedMs) && elapsedMs >= 0 ? elapsedMs : 0;
}
