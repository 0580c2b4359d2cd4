import { status } from '@grpc/grpc-js';
import { connect, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeIn, nothing, type EdgeAddress, type Told } from './attack.ts';
import type { Credentials } from './certificates.ts';
import { connectSecurely } from './raw.ts';

const SERVICE = '/temporal.api.workflowservice.v1.WorkflowService/';

/** What a call was told, and the message in it. */
export interface CallTold extends Told {
  readonly message: Buffer | null;
}

export interface CallOptions {
  /** How long an answer is waited for; 5,000 by default. */
  readonly patienceMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** The whole body instead of one framed message; null for a call that never ends. */
  readonly body?: Buffer | null;
}

/**
 * gRPC over a bare HTTP/2 connection: unlike a client library it sends whatever it is told to, and
 * shows every byte that comes back.
 */
export class GrpcAttacker {
  readonly #edge: EdgeAddress;
  readonly #credentials: Credentials | undefined;
  #session: ClientHttp2Session | undefined;
  /** On this connection. */
  #calls = 0;

  constructor(edge: EdgeAddress, credentials?: Credentials) {
    this.#edge = edge;
    this.#credentials = credentials;
  }

  /**
   * Calls, and comes again when it was slowed down: it wants to know the rest as well.
   *
   * @param method a full path, or the name of a method of WorkflowService.
   */
  async call(method: string, message: Uint8Array, options: CallOptions = {}): Promise<CallTold> {
    for (let attempt = 1; ; attempt += 1) {
      const session = this.session();
      const told = await this.once(method, message, options);
      const isSlowedDown = told.code === 'edge.too_many' || this.#isWornOut(session, told);
      if (!isSlowedDown || attempt === TRIES_MAX) return told;
      await sleep(PAUSE_MS);
    }
  }

  /** The same, and also takes for an answer that it asks too often. */
  once(method: string, message: Uint8Array, options: CallOptions = {}): Promise<CallTold> {
    const { patienceMs = 5_000, headers = {}, body = framed(message) } = options;
    const session = this.session();
    this.#calls += 1;
    return new Promise((resolve) => {
      let told: IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      const answer = (ending: 'closed' | 'silent') => {
        clearTimeout(patience);
        session.off('close', closed);
        resolve(toldBy(told, Buffer.concat(chunks), ending));
      };
      const closed = () => answer('closed');
      const patience = setTimeout(() => {
        answer('silent');
        stream?.close();
      }, patienceMs);
      session.once('close', closed);
      if (session.destroyed) return closed();
      const stream = session.request({
        ':method': 'POST',
        ':path': method.startsWith('/') ? method : `${SERVICE}${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...headers,
      });
      stream.on('response', (received) => (told = { ...told, ...received }));
      stream.on('trailers', (received) => (told = { ...told, ...received }));
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', () => undefined);
      stream.once('close', closed);
      if (body !== null) stream.end(body);
    });
  }

  /** Whether a connection was ended for what was asked on it before. */
  #isWornOut(session: ClientHttp2Session, told: Told): boolean {
    const isEnded = told.status === 'closed' && session === this.#session;
    return isEnded && this.#calls > 1;
  }

  /** The connection, another one when the edge has ended it. */
  session(): ClientHttp2Session {
    if (this.#session && !this.#session.closed && !this.#session.destroyed) return this.#session;
    this.#calls = 0;
    const { host, port } = this.#edge;
    this.#session = connect(`https://${host}:${port}`, {
      createConnection: () =>
        connectSecurely(this.#edge, { ALPNProtocols: ['h2'], ...this.#credentials }),
    });
    // Each call that waits has one.
    this.#session.setMaxListeners(0);
    // What becomes of calls says it all.
    this.#session.on('error', () => undefined);
    return this.#session;
  }

  close(): void {
    this.#session?.destroy();
  }
}

const TRIES_MAX = 40;
const PAUSE_MS = 250;

/** A message as gRPC frames it: a flag, its length, and itself. */
export function framed(message: Uint8Array, isCompressed = false): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(isCompressed ? 1 : 0);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Null unless there is a whole message. */
function unframed(body: Buffer): Buffer | null {
  if (body.length < 5 || body.length < 5 + body.readUInt32BE(1)) return null;
  return body.subarray(5, 5 + body.readUInt32BE(1));
}

function toldBy(headers: IncomingHttpHeaders, body: Buffer, ending: 'closed' | 'silent'): CallTold {
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\n`);
  const bytes = Buffer.concat([Buffer.from(head.join('')), body]);
  const message = unframed(body);
  const number = headers['grpc-status'];
  if (number === undefined) {
    const http = Number(headers[':status'] ?? 200);
    if (http === 200) return { ...nothing(ending, bytes), message };
    return { status: `HTTP ${http}`, code: null, bytes, message };
  }
  const said = decodeURIComponent(String(headers['grpc-message'] ?? ''));
  const name = status[Number(number)] ?? `gRPC ${String(number)}`;
  return { status: name, code: codeIn(said), bytes, message };
}
