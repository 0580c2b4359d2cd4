import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { CodedError } from '../protocol/errors.ts';
import { errorResponse } from './errors.ts';
import type { GatewayMetrics } from './metrics.ts';

/** How long the rest of a body is poured away after its refusal, so that the refusal is heard. */
const REST_MS_MAX = 2_000;

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/**
 * What is no proper request, or comes too slowly, gets the error object like everything else, as
 * long as HTTP allows an answer; otherwise its connection ends.
 *
 * @returns the handler for Fastify's `clientErrorHandler`.
 */
export function connectionGuard(log: Logger, metrics: GatewayMetrics) {
  const latest = new WeakMap<Socket, Call>();
  /** Whose last answer is under way. */
  const ending = new WeakSet<Socket>();
  return {
    watch(server: Server): void {
      server.prependListener('request', (request: IncomingMessage, response: ServerResponse) =>
        latest.set(request.socket, { request, response }),
      );
    },
    onClientError(this: void, error: NodeJS.ErrnoException, socket: Socket): void {
      const coded = clientError(error);
      const call = latest.get(socket);
      if (coded && call && isUnderWay(call)) {
        // Whatever follows it is refused by the end of the connection.
        call.response.once('close', () => socket.destroySoon());
        latest.delete(socket);
        ending.add(socket);
        return;
      }
      if (coded && ending.has(socket)) return;
      const trace = randomUUID();
      const mayAnswer = coded !== null && isUnanswered(call) && socket.writable;
      if (coded) {
        metrics.failed(coded.code);
        log.warn({ trace, code: coded.code, reason: error.code }, 'gateway // refused');
      }
      if (mayAnswer) socket.write(rawAnswer(coded, trace));
      socket.destroySoon();
      // Whoever doesn't take the answer doesn't keep the connection.
      setTimeout(() => socket.destroy(), REST_MS_MAX).unref();
    },
  };
}

function isUnderWay({ request, response }: Call): boolean {
  return request.complete && !response.writableFinished && !response.destroyed;
}

/** An answer is owed for what is just coming; one that was begun would be broken by another. */
function isUnanswered(call: Call | undefined): boolean {
  if (!call) return true;
  const { request, response } = call;
  return request.complete ? response.writableFinished : !response.headersSent;
}

/** @returns null when nobody is there to be told. */
function clientError({ code, message }: NodeJS.ErrnoException): CodedError | null {
  if (code === 'ECONNRESET' || code === 'EPIPE') return null;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new CodedError('gateway.body_too_slow');
  const detail =
    code === 'HPE_HEADER_OVERFLOW' ? 'Its headers are too large.' : `It is not HTTP: ${message}.`;
  return new CodedError('receive.malformed_request', detail);
}

function rawAnswer(error: CodedError, trace: string): string {
  const { status, headers, body } = errorResponse(error);
  const text = JSON.stringify(body);
  const all = {
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(text)),
    'x-trace-id': trace,
    connection: 'close',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  const reason = status === 408 ? 'Request Timeout' : 'Bad Request';
  return `HTTP/1.1 ${status} ${reason}\r\n${lines.join('')}\r\n${text}`;
}

/**
 * The rest of a body that was refused is poured away for a while: a connection that is closed with
 * data unread is reset, and its caller may never see why.
 */
export function discardRest({ raw: request }: { readonly raw: IncomingMessage }): void {
  if (request.complete || request.destroyed) return;
  request.resume();
  const timer = setTimeout(() => request.socket.destroy(), REST_MS_MAX).unref();
  request.once('close', () => clearTimeout(timer));
}
