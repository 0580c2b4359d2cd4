import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { CodedError, errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import { blobRoutes, type BlobDependencies } from './blobs.ts';
import { discardRest, guardConnections } from './connections.ts';
import { frameRoutes, type FrameDependencies } from './frames.ts';
import { nodeOf, type NodeAdmission } from './node-calls.ts';
import { nodeRoutes, type NodeRouteDependencies } from './node-routes.ts';
import { Refusal } from './refusals.ts';

/** Nodes send a handful of headers, and paths of some 200 characters. */
const HEADER_BYTES_MAX = 8 * 1024;
const HEADERS_MAX = 64;
const PARAM_CHARACTERS_MAX = 128;
const KEEP_ALIVE_MS = 30_000;

export interface NodeApiDependencies
  extends NodeAdmission, NodeRouteDependencies, FrameDependencies, BlobDependencies {
  readonly log: Logger;
  /** Until a request's headers have to be there; 10,000 by default. */
  readonly headersMsMax?: number;
}

/**
 * What an edge answers to nodes over HTTP. It doesn't listen: connections are handed over to
 * `app.server` once TLS has said whose they are. Bodies are read as they come, within limits, and
 * passed on unread.
 */
export function createNodeApi(dependencies: NodeApiDependencies): FastifyInstance {
  const { refused } = dependencies;
  const app = fastify({
    http: { maxHeaderSize: HEADER_BYTES_MAX, insecureHTTPParser: false },
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Streams of frames last for as long as their attempt: bodies have limits of their own.
    requestTimeout: 0,
    routerOptions: { maxParamLength: PARAM_CHARACTERS_MAX },
    exposeHeadRoutes: false,
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => refuseMalformed(dependencies, error, socket),
    frameworkErrors: (_error, request, reply) =>
      void sendError(dependencies, request, reply, new CodedError('edge.malformed')),
  });
  app.server.maxHeadersCount = HEADERS_MAX;
  const endAll = guardConnections(
    app.server,
    ({ remoteAddress }) => refused('edge.too_slow', at(remoteAddress, 'headers')),
    dependencies.headersMsMax,
  );
  app.addHook('preClose', async () => endAll());
  app.addHook('onResponse', async (request) => discardRest(request.raw));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.setErrorHandler((error, request, reply) => sendError(dependencies, request, reply, error));
  app.setNotFoundHandler((request, reply) => {
    const isNode = nodeOf(dependencies, request) !== null;
    const code = isNode ? 'edge.forbidden' : 'edge.unauthenticated';
    return sendError(dependencies, request, reply, new CodedError(code));
  });
  nodeRoutes(app, dependencies);
  frameRoutes(app, dependencies);
  blobRoutes(app, dependencies);
  return app;
}

function sendError(
  dependencies: NodeApiDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
): FastifyReply {
  // Nobody is left to hear it.
  if (reply.raw.destroyed) return reply;
  const { code, message, cause } = coded(dependencies, error);
  const nodeId = nodeOf(dependencies, request);
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  const detail = `${request.method} ${request.routeOptions.url ?? 'no route'}${why}`;
  dependencies.refused(code, {
    ...at(request.raw.socket.remoteAddress, detail),
    ...(nodeId === null ? {} : { nodeId }),
  });
  return reply
    .code(errorDefinition(code).httpStatus)
    .type('application/json')
    .send({ error: { code, message } });
}

/** Failures without a code are bugs or outages: logged whole, and told as what they are. */
function coded({ log }: NodeApiDependencies, error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  if (error instanceof Refusal) return new CodedError(error.code);
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
  if (status < 500) return new CodedError('edge.malformed');
  log.error({ error: error instanceof Error ? error.stack : String(error) }, 'edge // failed');
  return new CodedError('edge.unavailable');
}

/** What isn't HTTP gets an answer, and never another chance. */
function refuseMalformed(
  { refused }: NodeApiDependencies,
  error: NodeJS.ErrnoException,
  socket: Socket,
): void {
  // The connection is gone.
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const code: ErrorCode =
    error.code === 'HPE_HEADER_OVERFLOW' ? 'edge.too_large' : 'edge.malformed';
  refused(code, at(socket.remoteAddress, error.code ?? 'not HTTP'));
  const { httpStatus, message } = errorDefinition(code);
  const body = JSON.stringify({ error: { code, message } });
  socket.end(
    `HTTP/1.1 ${httpStatus} ${code}\r\nconnection: close\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function at(address: IncomingMessage['socket']['remoteAddress'], detail: string) {
  return address === undefined ? { detail } : { address, detail };
}
