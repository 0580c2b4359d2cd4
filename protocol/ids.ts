import { bytesToHex, hexToBytes } from 'viem/utils';

/** An accepted inference request or job: `req_` and 64 lower-case hex digits. */
export type RequestId = `req_${string}` & { readonly idKind: 'request' };
/** A job on the general path, before it is split: `prlx_` and 64 hex digits. */
export type TaskId = `prlx_${string}` & { readonly idKind: 'task' };
/** One part of a split job, allocated by the segmenter: `sub_` and 64 hex digits. */
export type SubTaskId = `sub_${string}` & { readonly idKind: 'subTask' };
/** A node: `nd_` and the SHA-256 of its signing key (SubjectPublicKeyInfo DER) in hex. */
export type NodeId = `nd_${string}` & { readonly idKind: 'node' };
/** What is matched to a node: a whole request, or one sub-task. */
export type UnitId = RequestId | SubTaskId;

/** A string, or a number of bytes, that isn't the identifier it should be. */
export class InvalidIdError extends Error {
  override readonly name = 'InvalidIdError';
}

/** Raw length of every identifier. */
const ID_BYTES = 32;

/** Shows 32 random bytes, drawn by the caller, as a request id. */
export function formatRequestId(bytes: Uint8Array): RequestId {
  return format('req_', bytes, isRequestId);
}

/** Shows 32 random bytes, drawn by the caller, as a task id. */
export function formatTaskId(bytes: Uint8Array): TaskId {
  return format('prlx_', bytes, isTaskId);
}

/** Shows 32 random bytes, drawn by the caller, as a sub-task id. */
export function formatSubTaskId(bytes: Uint8Array): SubTaskId {
  return format('sub_', bytes, isSubTaskId);
}

/** Shows the SHA-256 of a node's signing key as its id; `crypto/keys.ts` computes the digest. */
export function formatNodeId(digest: Uint8Array): NodeId {
  return format('nd_', digest, isNodeId);
}

/** Whether a value, from outside perhaps, is a request id in its one canonical form. */
export function isRequestId(value: unknown): value is RequestId {
  return matches(/^req_[0-9a-f]{64}$/, value);
}

/** Whether a value is a task id in its one canonical form. */
export function isTaskId(value: unknown): value is TaskId {
  return matches(/^prlx_[0-9a-f]{64}$/, value);
}

/** Whether a value is a sub-task id in its one canonical form. */
export function isSubTaskId(value: unknown): value is SubTaskId {
  return matches(/^sub_[0-9a-f]{64}$/, value);
}

/** Whether a value is a node id in its one canonical form. */
export function isNodeId(value: unknown): value is NodeId {
  return matches(/^nd_[0-9a-f]{64}$/, value);
}

/** Whether a value is a request id or a sub-task id. */
export function isUnitId(value: unknown): value is UnitId {
  return isRequestId(value) || isSubTaskId(value);
}

/** Returns the value as a request id, or throws `InvalidIdError`. */
export function parseRequestId(value: unknown): RequestId {
  return parse(isRequestId, 'request id (req_)', value);
}

/** Returns the value as a node id, or throws `InvalidIdError`. */
export function parseNodeId(value: unknown): NodeId {
  return parse(isNodeId, 'node id (nd_)', value);
}

/** Returns the value as a request or sub-task id, or throws `InvalidIdError`. */
export function parseUnitId(value: unknown): UnitId {
  return parse(isUnitId, 'unit id (req_ or sub_)', value);
}

/** The 32 raw bytes behind an identifier: what is hashed and signed. */
export function idBytes(id: UnitId | TaskId | NodeId): Uint8Array {
  return hexToBytes(`0x${id.slice(id.indexOf('_') + 1)}`);
}

/** Prefix and first 8 hex digits (`req_a3f10b77`), for logs: for people, never for look-ups. */
export function shortId(id: UnitId | TaskId | NodeId): string {
  return id.slice(0, id.indexOf('_') + 9);
}

function format<Id>(prefix: string, bytes: Uint8Array, test: (value: unknown) => value is Id): Id {
  const id = prefix + bytesToHex(bytes).slice(2);
  if (test(id)) return id;
  throw new InvalidIdError(`An identifier is ${ID_BYTES} bytes, not ${bytes.length}.`);
}

function matches(pattern: RegExp, value: unknown): boolean {
  return typeof value === 'string' && pattern.test(value);
}

function parse<Id>(test: (value: unknown) => value is Id, kind: string, value: unknown): Id {
  if (test(value)) return value;
  // The value may be anything a stranger sent, so only the start of a string is quoted.
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : typeof value;
  throw new InvalidIdError(`Expected a ${kind} with 64 lower-case hex digits, got ${shown}.`);
}
