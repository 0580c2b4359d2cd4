import { randomUUID } from 'node:crypto';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { PAYLOAD_BYTES_MAX } from '../protocol/receive.ts';
import { chatRoutes } from './chat-routes.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { sendError } from './errors.ts';
import { explainRoutes } from './explain-routes.ts';
import { joinRoutes } from './join-routes.ts';
import { nodeRoutes } from './node-routes.ts';
import { requestRoutes } from './request-routes.ts';
import { resumeRoutes } from './resume-routes.ts';
import { reviewRoutes } from './review-routes.ts';
import { samplingRoutes } from './sampling-routes.ts';
import { submitRoutes } from './submit-routes.ts';

/** Room for JSON's escapes around the largest payload. */
const BODY_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;

/** The API that apps call: OpenAI's chat completions, and what became of a request. */
export function createGateway(dependencies: GatewayDependencies): FastifyInstance {
  const { database, log } = dependencies;
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    genReqId: () => randomUUID(),
    // A path that can't be decoded never gets as far as a route.
    frameworkErrors: (error, _request, reply) => void sendError(reply, codedError(error)),
  });
  app.addHook('onRequest', async (request, reply) => {
    // Until a request is accepted it has no id of its own; this one ties a refusal to the log.
    reply.header('x-trace-id', request.id);
  });
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
    return sendError(reply, coded);
  });
  app.setNotFoundHandler((request, reply) => {
    const route = `${request.method} ${request.url.split('?')[0]}`;
    return sendError(reply, new CodedError('gateway.route_not_found', route));
  });
  app.get('/healthz', (_request, reply) => health(dependencies, reply));
  chatRoutes(app, dependencies);
  submitRoutes(app, dependencies);
  requestRoutes(app, dependencies);
  resumeRoutes(app, dependencies);
  nodeRoutes(app, dependencies);
  explainRoutes(app, dependencies);
  reviewRoutes(app, dependencies);
  joinRoutes(app, dependencies);
  samplingRoutes(app, dependencies);
  app.addHook('onClose', () => database.$disconnect());
  return app;
}

async function health({ database, coordinatorUrl }: GatewayDependencies, reply: FastifyReply) {
  const [databaseOk, coordinatorOk] = await Promise.all([
    database.$queryRaw`SELECT 1`.then(
      () => true,
      () => false,
    ),
    fetch(`${coordinatorUrl}/healthz`).then(
      (response) => response.ok,
      () => false,
    ),
  ]);
  const ok = databaseOk && coordinatorOk;
  return reply
    .code(ok ? 200 : 503)
    .send({ status: ok ? 'ok' : 'degraded', database: databaseOk, coordinator: coordinatorOk });
}
