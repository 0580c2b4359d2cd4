import type { FastifyReply, FastifyRequest } from 'fastify';
import type { TLSSocket } from 'node:tls';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { RefusedBy } from './refusals.ts';

/** Kinds of calls that are counted apart, and how many of each a node may make. */
export const CALL_RATES = {
  register: { perSecond: 0.5, burst: 10 },
  // Each is a write; a challenge that was lost is answered by a second one.
  heartbeat: { perSecond: 2, burst: 6 },
  /** Draining and leaving. */
  part: { perSecond: 0.5, burst: 5 },
  commands: { perSecond: 1, burst: 10 },
  frames: { perSecond: 50, burst: 256 },
  certificate: { perSecond: 0.1, burst: 5 },
  blobs: { perSecond: 10, burst: 50 },
} as const satisfies Record<string, { readonly perSecond: number; readonly burst: number }>;

export type NodeCall = keyof typeof CALL_RATES;

/** How nodes are known, and kept within their limits. */
export interface NodeAdmission {
  /** By the certificate of a connection; null without one. */
  readonly peerOf: (socket: TLSSocket) => { readonly nodeId: NodeId } | null;
  /** Whether a node may make one more call of a kind: see `CALL_RATES`. */
  readonly allow: (nodeId: NodeId, what: NodeCall) => boolean;
  readonly isRemoved: (nodeId: NodeId) => boolean | Promise<boolean>;
  /** Calls the listener with each node that is removed from now on. */
  readonly onRemoved: (listener: (nodeId: NodeId) => void) => void;
  /** Counts and logs what is refused. */
  readonly refused: (code: ErrorCode, by: RefusedBy) => void;
}

/** The node that a request comes from, if any. */
export function nodeOf({ peerOf }: NodeAdmission, request: FastifyRequest): NodeId | null {
  return peerOf(request.raw.socket as TLSSocket)?.nodeId ?? null;
}

/**
 * Lets a node's call in.
 *
 * @returns the node, as its certificate says.
 * @throws CodedError `edge.unauthenticated`, `edge.too_many`, or `edge.node_removed`, unless the
 *   call is one that removed nodes may make.
 */
export async function admit(
  admission: NodeAdmission,
  request: FastifyRequest,
  what: NodeCall,
  mayBeRemoved = false,
): Promise<NodeId> {
  const nodeId = nodeOf(admission, request);
  if (nodeId === null) throw new CodedError('edge.unauthenticated');
  if (!admission.allow(nodeId, what)) throw new CodedError('edge.too_many', `It is ${what}.`);
  if (!mayBeRemoved && (await admission.isRemoved(nodeId)))
    throw new CodedError('edge.node_removed');
  return nodeId;
}

/** Calls the listener once the answer is over, also if it was given up while it was let in. */
export function whenOver({ raw }: FastifyReply, listener: () => void): void {
  if (raw.destroyed) listener();
  else raw.once('close', listener);
}

/** What nodes have under way, to be ended when they are removed or replaced. */
export class UnderWay {
  readonly #max: number;
  readonly #byNode = new Map<NodeId, Set<AbortController>>();

  /** @param max of one node at once. */
  constructor(max: number) {
    this.#max = max;
  }

  /** @throws CodedError `edge.too_many` */
  begin(nodeId: NodeId): AbortController {
    const own = this.#byNode.get(nodeId) ?? new Set();
    if (own.size >= this.#max) throw new CodedError('edge.too_many', `At most ${this.#max}.`);
    const begun = new AbortController();
    this.#byNode.set(nodeId, own.add(begun));
    return begun;
  }

  end(nodeId: NodeId, begun: AbortController): void {
    const own = this.#byNode.get(nodeId);
    own?.delete(begun);
    if (own?.size === 0) this.#byNode.delete(nodeId);
  }

  /** Aborts all that a node has, with a reason. */
  abort(nodeId: NodeId, reason: CodedError): void {
    const own = this.#byNode.get(nodeId) ?? [];
    this.#byNode.delete(nodeId);
    for (const begun of own) begun.abort(reason);
  }
}
