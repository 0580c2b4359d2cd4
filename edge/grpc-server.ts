import { status } from '@grpc/grpc-js';
import {
  constants,
  performServerHandshake,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { addressKey, KeyedBuckets, TokenBucket } from '../protocol/buckets.ts';
import { readMessage, timeoutMs } from './grpc-message.ts';
import { answer, endCall, STATUSES, type Reply } from './grpc-reply.ts';
import type { Peer } from './identity.ts';
import { Held, KeyedCounts, type EdgeLimits } from './limits.ts';
import { Refusal, type Refusals } from './refusals.ts';

/** A unary call by a node. */
export interface Call {
  readonly peer: Peer;
  /** Where the node is, as addresses are counted. */
  readonly address: string;
  readonly message: Buffer;
  /** Until when the node waits, in milliseconds since the epoch; Infinity if it didn't say. */
  readonly deadlineMs: number;
  /** Aborted when the node takes the call back, or its connection is lost. */
  readonly signal: AbortSignal;
}

/** Throws a Refusal, or NotFound, to answer with that; anything else is `edge.unavailable`. */
export type Handler = (call: Call) => Promise<Reply>;

/** What a message is about is over: passed on to nodes as it is. */
export class NotFound extends Error {
  override readonly name = 'NotFound';
}

export interface GrpcServerOptions {
  /** By path, such as `/grpc.health.v1.Health/Check`. */
  readonly handlers: ReadonlyMap<string, Handler>;
  readonly limits: EdgeLimits;
  readonly refusals: Refusals;
  readonly log: Pick<Logger, 'error'>;
  /** Told when a node has no connection left. */
  readonly onGone: (nodeId: Peer['nodeId']) => void;
}

/** At the other end of a connection; the address is one as they are counted. */
interface Caller {
  readonly peer: Peer;
  readonly address: string;
}

/** More is never read of a connection before what was read is dealt with. */
const SESSION_MEGABYTES_MAX = 16;

/**
 * Unary gRPC for the connections of nodes (the protocol "gRPC over HTTP/2"). It isn't grpc-js's
 * server, which keeps connections and streams to itself: what is sent too slowly, taken back too
 * often or asked of no method could be neither counted nor ended there.
 */
export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #connections: KeyedCounts;
  readonly #requests: KeyedBuckets;
  readonly #bytes: KeyedBuckets;
  readonly #held: Held;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    const { limits } = options;
    this.#connections = new KeyedCounts(limits.connectionsPerNode);
    this.#requests = new KeyedBuckets(limits.requestsPerSecond, limits.requestsBurst);
    this.#bytes = new KeyedBuckets(limits.bytesPerSecond, limits.bytesBurst);
    this.#held = new Held(limits.heldBytesPerAddress, limits.heldBytes);
  }

  isConnected(nodeId: string): boolean {
    return this.#connections.of(nodeId) > 0;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** Serves a connection after its handshake. */
  accept(socket: TLSSocket, peer: Peer, address: string): void {
    const { limits, refusals, onGone } = this.#options;
    const { nodeId } = peer;
    if (!this.#connections.acquire(nodeId)) {
      refusals.refused('edge.too_many', { nodeId, address, detail: 'connections' });
      return void socket.destroy();
    }
    const session = performServerHandshake(socket, {
      maxSessionMemory: SESSION_MEGABYTES_MAX,
      settings: {
        maxConcurrentStreams: limits.streamsPerConnection,
        maxHeaderListSize: limits.headerBytes,
      },
    });
    this.#sessions.add(session);
    const wasted = new TokenBucket(limits.wastedPerSecond, limits.wastedBurst, performance.now());
    // A session that is destroyed waits for the other end to read what is left: it needn't.
    const cutOff = () => void setImmediate(() => socket.destroy());
    const waste = () => {
      if (session.destroyed || wasted.take(performance.now())) return;
      refusals.refused('edge.too_many', { nodeId, address, detail: 'wasted calls' });
      session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      cutOff();
    };
    const stopPinging = keepAlive(session, limits);
    session.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code?.startsWith('ERR_HTTP2'))
        refusals.refused('edge.malformed', { nodeId, address, detail: code });
      session.destroy();
      cutOff();
    });
    const caller = { peer, address: addressKey(address) };
    session.on('stream', (stream, headers) => void this.#serve(stream, headers, caller, waste));
    session.once('close', () => {
      stopPinging();
      socket.destroy();
      this.#sessions.delete(session);
      this.#connections.release(nodeId);
      if (!this.isConnected(nodeId)) onGone(nodeId);
    });
  }

  /** Asks the other ends to open no more calls. */
  close(): void {
    for (const session of this.#sessions) session.close();
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy();
  }

  async #serve(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    caller: Caller,
    waste: () => void,
  ): Promise<void> {
    const { refusals, log } = this.#options;
    stream.on('error', () => {});
    const taken = new AbortController();
    let isAnswered = false;
    stream.once('close', () => {
      if (isAnswered) return;
      taken.abort();
      waste();
    });
    const path = String(headers[constants.HTTP2_HEADER_PATH] ?? '');
    try {
      const reply = await this.#reply(stream, headers, caller, taken.signal);
      isAnswered = true;
      answer(stream, reply, this.#options.limits.answerMs);
    } catch (error) {
      const wasTakenBack = taken.signal.aborted;
      isAnswered = true;
      if (error instanceof NotFound) return endCall(stream, status.NOT_FOUND, 'NOT_FOUND');
      const refusal = error instanceof Refusal ? error : new Refusal('edge.unavailable');
      if (refusal !== error) log.error({ error: stackOf(error), path }, 'edge // a call failed');
      if (wasTakenBack) return;
      const detail = `${path} ${refusal.message}`;
      refusals.refused(refusal.code, { nodeId: caller.peer.nodeId, detail });
      endCall(stream, STATUSES[refusal.code], refusal.code);
      waste();
    }
  }

  async #reply(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    { peer, address }: Caller,
    signal: AbortSignal,
  ): Promise<Reply> {
    const { handlers, limits } = this.#options;
    const { nodeId } = peer;
    if (!this.#requests.take(nodeId, performance.now()))
      throw new Refusal('edge.too_many', 'requests');
    const isGrpc = /^application\/grpc(\+proto)?$/.test(headers['content-type'] ?? '');
    const handler = handlers.get(String(headers[constants.HTTP2_HEADER_PATH]));
    if (!isGrpc || headers[constants.HTTP2_HEADER_METHOD] !== 'POST' || !handler)
      throw new Refusal('edge.forbidden');
    const encoding = String(headers['grpc-encoding'] ?? 'identity');
    let heldBytes = 0;
    const spend = (bytes: number): boolean => {
      heldBytes += bytes;
      const hasRoom = this.#held.hold(address, bytes);
      return this.#bytes.spend(nodeId, performance.now(), bytes) && hasRoom;
    };
    try {
      const message = await readMessage(stream, encoding, limits, spend);
      const deadlineMs = Date.now() + timeoutMs(headers['grpc-timeout']);
      return await handler({ peer, address, message, deadlineMs, signal });
    } finally {
      this.#held.release(address, heldBytes);
    }
  }
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : String(error);
}

/** Pings the other end; one that doesn't answer is gone. @returns what stops it. */
function keepAlive(
  session: ServerHttp2Session,
  { keepaliveMs, keepaliveTimeoutMs }: EdgeLimits,
): () => void {
  let overdue: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (session.destroyed || overdue) return;
    overdue = setTimeout(() => session.destroy(), keepaliveTimeoutMs).unref();
    session.ping(() => {
      clearTimeout(overdue);
      overdue = undefined;
    });
  }, keepaliveMs).unref();
  return () => {
    clearInterval(timer);
    clearTimeout(overdue);
  };
}
