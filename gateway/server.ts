import { randomUUID } from 'node:crypto';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { addAnswerHeaders } from './answer-headers.ts';
import { parseBody } from './body.ts';
import { admitCallers, limitBodies, limitCalls, routeNotFound } from './call-limits.ts';
import { chatRoutes } from './chat-routes.ts';
import { connectionGuard, discardRest } from './connections.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { docsRoutes } from './docs-routes.ts';
import { MalformedRequestError, sendError } from './errors.ts';
import { creditsRoutes } from './credits-routes.ts';
import { explainRoutes } from './explain-routes.ts';
import { healthRoute } from './health.ts';
import { joinRoutes } from './join-routes.ts';
import { keyRoutes } from './key-routes.ts';
import { GATEWAY_LIMITS, type GatewayLimits } from './limits.ts';
import { modelRoutes } from './model-routes.ts';
import { nodeRoutes } from './node-routes.ts';
import { pricesRoutes } from './prices-routes.ts';
import { requestRoutes } from './request-routes.ts';
import { resumeRoutes } from './resume-routes.ts';
import { reviewRoutes } from './review-routes.ts';
import { samplingRoutes } from './sampling-routes.ts';
import { signInRoutes } from './sign-in-routes.ts';
import { submitRoutes } from './submit-routes.ts';
import { usageRoutes } from './usage-routes.ts';

/**
 * The API that apps call: OpenAI's chats and completions, and what became of a request.
 *
 * @param limits how much it takes of its callers.
 */
export function createGateway(
  dependencies: GatewayDependencies,
  limits: GatewayLimits = GATEWAY_LIMITS,
): FastifyInstance {
  const { database, metrics, log, trustedProxies = [] } = dependencies;
  const guard = connectionGuard(log, metrics);
  const refuse = (reply: FastifyReply, error: CodedError) => {
    metrics.failed(error.code);
    return sendError(reply, error);
  };
  const app = fastify({
    bodyLimit: limits.bodyBytes,
    trustProxy: trustedProxies.length > 0 && [...trustedProxies],
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
    forceCloseConnections: true,
    http: {
      headersTimeout: limits.headersMs,
      connectionsCheckingInterval: limits.checkMs,
      maxHeaderSize: limits.headerBytes,
      // Checked below, where a refusal has the error object.
      requireHostHeader: false,
      // Callers that vanished without a word, while they were waiting for an answer.
      keepAlive: true,
    },
    genReqId: () => randomUUID(),
    clientErrorHandler: guard.onClientError,
    // A path that can't be decoded never gets as far as a route.
    frameworkErrors: (error, _request, reply) => void refuse(reply, codedError(error)),
  });
  guard.watch(app.server);
  metrics.watch(app);
  app.server.maxConnections = limits.connections;
  app.addHook('onRequest', async (request, reply) => {
    // Until a request is accepted it has no id of its own; this one ties a refusal to the log.
    reply.header('x-trace-id', request.id);
  });
  addAnswerHeaders(app, dependencies);
  limitCalls(app, limits);
  strictBodies(app, limits);
  admitCallers(app, database, limits);
  limitBodies(app, limits);
  app.setErrorHandler((error, request, reply) => {
    if (reply.raw.destroyed) {
      // The caller hung up, which aborted what was done for it. An accepted request goes on.
      log.info({ trace: request.id }, 'gateway // the caller has gone');
      return reply;
    }
    const coded = codedError(error);
    const at = { trace: request.id, code: coded.code, route: request.routeOptions.url };
    if (coded.code === 'coordinator.internal')
      log.error(
        { ...at, error: error instanceof Error ? error.stack : String(error) },
        'gateway // failed',
      );
    else log.warn(at, 'gateway // refused');
    discardRest(request);
    return refuse(reply, coded);
  });
  app.setNotFoundHandler((request, reply) => refuse(reply, routeNotFound(request)));
  addRoutes(app, dependencies);
  app.addHook('onClose', () => database.$disconnect());
  return app;
}

function addRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  healthRoute(app, dependencies);
  chatRoutes(app, dependencies);
  submitRoutes(app, dependencies);
  requestRoutes(app, dependencies);
  resumeRoutes(app, dependencies);
  modelRoutes(app, dependencies);
  nodeRoutes(app, dependencies);
  explainRoutes(app, dependencies);
  reviewRoutes(app, dependencies);
  joinRoutes(app, dependencies);
  samplingRoutes(app, dependencies);
  signInRoutes(app, dependencies);
  keyRoutes(app, dependencies);
  creditsRoutes(app, dependencies);
  usageRoutes(app, dependencies);
  pricesRoutes(app, dependencies);
  docsRoutes(app);
}

/** Bodies are JSON and nothing else, uncompressed: so they have one size and one meaning. */
function strictBodies(app: FastifyInstance, limits: GatewayLimits): void {
  app.addHook('onRequest', async ({ headers, raw }) => {
    const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers;
    if (headers.host === undefined && raw.httpVersion === '1.1')
      throw new MalformedRequestError('host', 'is missing');
    if (raw.rawHeaders.length > 2 * limits.headerCount)
      throw new MalformedRequestError('', `more than ${limits.headerCount} headers`);
    if (encoding !== 'identity')
      throw new CodedError('gateway.media_type_unsupported', 'It must not be compressed.');
    if (/;\s*charset\s*=(?!\s*"?utf-8"?\s*(?:;|$))/i.test(type))
      throw new CodedError('gateway.media_type_unsupported', 'Its charset must be UTF-8.');
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async ({ method }: FastifyRequest, bytes: Buffer) => {
      if (bytes.length > 0) return parseBody(bytes, limits);
      // Clients that always name a type, though they send nothing.
      if (method === 'DELETE') return undefined;
      throw new MalformedRequestError('', 'the body is empty');
    },
  );
}
