import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { codeIn, nothing, type EdgeAddress, type Told } from './attack.ts';
import type { Credentials } from './certificates.ts';

export interface RawOptions {
  readonly credentials?: Credentials | undefined;
  /** `http/1.1` by default. */
  readonly alpn?: readonly string[];
  readonly tls?: ConnectionOptions;
  /** How long its end is waited for; 5,000 by default. */
  readonly patienceMs?: number;
  /** Whether the first answer is all there is to wait for; it is unless told otherwise. */
  readonly untilClosed?: boolean;
}

/** Sends over TLS whatever it likes, and says all that came back before the connection ended. */
export function exchange(
  edge: EdgeAddress,
  send: string | Buffer | ((socket: Socket) => void),
  { credentials, alpn = ['http/1.1'], tls, ...options }: RawOptions = {},
): Promise<Told> {
  const connect = () => connectSecurely(edge, { ALPNProtocols: [...alpn], ...credentials, ...tls });
  return patiently(() => listenTo(connect(), 'secureConnect', send, options));
}

/** The same without TLS. */
export function exchangeInClear(
  edge: EdgeAddress,
  send: string | Buffer,
  options: RawOptions = {},
): Promise<Told> {
  return patiently(() => listenTo(connectTcp(placeOf(edge)), 'connect', send, options));
}

/** A TLS connection from the address whose turn it is. */
export function connectSecurely(edge: EdgeAddress, options: ConnectionOptions): TLSSocket {
  return connectTls({ ...placeOf(edge), ca: edge.ca, servername: 'localhost', ...options });
}

function placeOf({ host, port, from }: EdgeAddress) {
  const next = from?.next();
  return { host, port, ...(next && !next.done && { localAddress: next.value }) };
}

const TRIES_MAX = 40;
const PAUSE_MS = 250;

/** Slowed down it comes again: it wants to know the rest as well. */
async function patiently(run: () => Promise<Told & { isTurnedAway: boolean }>): Promise<Told> {
  for (let attempt = 1; ; attempt += 1) {
    const { isTurnedAway, ...told } = await run();
    const isSlowedDown = isTurnedAway || told.code === 'edge.too_many';
    if (!isSlowedDown || attempt === TRIES_MAX) return told;
    await sleep(PAUSE_MS);
  }
}

function listenTo(
  socket: Socket,
  ready: 'connect' | 'secureConnect',
  send: string | Buffer | ((socket: Socket) => void),
  { patienceMs = 5_000, untilClosed = false }: RawOptions,
): Promise<Told & { isTurnedAway: boolean }> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let isReady = false;
    let isReset = false;
    const end = (ending: 'closed' | 'silent') => {
      clearTimeout(patience);
      socket.destroy();
      const isTurnedAway = isReset && !isReady;
      resolve({ ...toldBy(Buffer.concat(chunks), ending), isTurnedAway });
    };
    const patience = setTimeout(() => end('silent'), patienceMs);
    socket.once(ready, () => {
      isReady = true;
      if (typeof send === 'function') send(socket);
      else socket.write(send);
    });
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (!untilClosed && isWhole(Buffer.concat(chunks).toString('latin1'))) end('silent');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => (isReset ||= error.code === 'ECONNRESET'));
    socket.once('close', () => end('closed'));
  });
}

/** One HTTP/1.1 request as text. */
export function request(
  method: string,
  path: string,
  body: string | object = '',
  headers: Readonly<Record<string, string>> = {},
): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const all: Record<string, string> = {
    host: 'localhost',
    ...(text === '' && method === 'GET'
      ? {}
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
    connection: 'close',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`;
}

/** Body of the last answer; empty without one. */
export function bodyOf({ bytes }: Told): string {
  const text = bytes.toString('utf8');
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  return /^transfer-encoding: chunked/im.test(text) ? dechunked(body) : body;
}

function isWhole(text: string): boolean {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return false;
  const length = /^content-length: (\d+)/im.exec(text.slice(0, head))?.[1];
  if (length !== undefined) return text.length >= head + 4 + Number(length);
  return /^transfer-encoding: chunked/im.test(text) ? text.endsWith('0\r\n\r\n') : true;
}

function dechunked(body: string): string {
  const size = Number.parseInt(body, 16);
  if (!(size > 0)) return '';
  const start = body.indexOf('\r\n') + 2;
  return body.slice(start, start + size) + dechunked(body.slice(start + size + 2));
}

/** Where an answer is refused and another isn't, the one that isn't is the news. */
function toldBy(bytes: Buffer, ending: 'closed' | 'silent'): Told {
  const text = bytes.toString('latin1');
  const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
  if (statuses.length === 0) return nothing(ending, bytes);
  const code = codeIn(/"code":\s?"([\w.]+)"/.exec(text)?.[1]);
  const good = statuses.find((status) => status < 400);
  return { status: `HTTP ${good ?? statuses[0]}`, code: good === undefined ? code : null, bytes };
}
