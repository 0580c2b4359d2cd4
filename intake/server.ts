import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { sameSecret } from '../crypto/channel.ts';
import { EnvelopeError } from '../crypto/errors.ts';
import { readRequest } from '../prisma/requests.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { CodedError, errorDefinition } from '../protocol/errors.ts';
import { isRequestId, type RequestId } from '../protocol/ids.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import { firstIssue } from '../protocol/issues.ts';
import { intakeCallSchema } from '../protocol/receive-schema.ts';
import { bearerToken } from './bearer.ts';
import { serveFollower, serveIntakeCall, type IntakeDependencies } from './call.ts';
import { eventLines, type EventOutput } from './event-lines.ts';
import { nodeRoutes, type NodeDependencies } from './node-routes.ts';
import { cancelRun, liveSteps } from './run.ts';

/** JSON around a payload of the largest size, with base64's third. */
const BODY_BYTES_MAX = 1024 * 1024;

export interface ServerDependencies extends IntakeDependencies, NodeDependencies {
  /** What a gateway must present; in production mutual TLS stands in front of it. */
  readonly intakeToken: string;
  readonly intakeKey: RequesterKey;
}

/** The coordinator's HTTP side: intake calls from gateways, and what edges pass on of nodes. */
export function createIntakeServer(dependencies: ServerDependencies): FastifyInstance {
  const app = fastify({ bodyLimit: BODY_BYTES_MAX, forceCloseConnections: true });
  app.setErrorHandler((error, _request, reply) => sendError(dependencies, reply, error));
  // Frames are read while they arrive, line by line.
  app.addContentTypeParser('application/x-ndjson', (_request, payload, done) =>
    done(null, payload),
  );
  app.get('/healthz', () => ({ status: 'ok' }));
  gatewayRoutes(app, dependencies);
  runRoutes(app, dependencies);
  nodeRoutes(app, dependencies);
  return app;
}

function gatewayRoutes(app: FastifyInstance, dependencies: ServerDependencies): void {
  const { intakeToken, intakeKey } = dependencies;
  app.get('/v1/intake/key', () => intakeKey);
  app.post('/v1/intake', async (request, reply) => {
    assertGateway(request, intakeToken);
    const call = intakeCallSchema.safeParse(request.body);
    if (!call.success) throw new CodedError('receive.malformed_request', firstIssue(call.error));
    return sendEvents(reply, async (output) => {
      await serveIntakeCall(dependencies, call.data, output).catch((error: unknown) =>
        output.emit(refusal(dependencies, error)),
      );
    });
  });
}

/** Answers with events as they come, for as long as the gateway is there. */
function sendEvents(reply: FastifyReply, serve: (output: EventOutput) => Promise<void>) {
  const gone = new AbortController();
  reply.raw.on('close', () => gone.abort());
  return reply.type('application/x-ndjson').send(eventLines(gone.signal, serve));
}

/** What gateways ask about a request that was accepted; they check whose it is. */
function runRoutes(app: FastifyInstance, dependencies: ServerDependencies): void {
  const { intakeToken } = dependencies;
  app.get<{ Params: { id: string } }>('/v1/intake/requests/:id/steps', async (request) => {
    assertGateway(request, intakeToken);
    return { steps: await liveSteps(dependencies, requestIdOf(request.params.id)) };
  });
  app.get<FollowParams>('/v1/intake/requests/:id/events', async (request, reply) => {
    assertGateway(request, intakeToken);
    const requestId = requestIdOf(request.params.id);
    const untilEnd = request.query.until_end === 'true';
    const known = await readRequest(dependencies.database, requestId);
    if (!known) throw new CodedError('gateway.request_not_found');
    return sendEvents(reply, async (output) => {
      await serveFollower(dependencies, requestId, known, untilEnd, output).catch(
        (error: unknown) => output.emit(refusal(dependencies, error)),
      );
    });
  });
  app.post<{ Params: { id: string } }>('/v1/intake/requests/:id/cancel', async (request, reply) => {
    assertGateway(request, intakeToken);
    await cancelRun(dependencies, requestIdOf(request.params.id));
    return reply.code(204).send();
  });
}

interface FollowParams {
  Params: { id: string };
  Querystring: { until_end?: string };
}

function assertGateway(request: FastifyRequest, intakeToken: string): void {
  if (!sameSecret(bearerToken(request), intakeToken)) throw new CodedError('receive.unauthorized');
}

function requestIdOf(text: string): RequestId {
  if (!isRequestId(text)) throw new CodedError('gateway.request_not_found');
  return text;
}

/** Failures without a code are bugs or outages: logged whole, and told as what they are. */
function coded({ log }: ServerDependencies, error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  if (error instanceof EnvelopeError) return new CodedError('relay.bad_frame', error.message);
  if (error instanceof Error && 'statusCode' in error && error.statusCode === 413)
    return new CodedError('receive.payload_too_large');
  if (error instanceof Error && 'statusCode' in error && Number(error.statusCode) < 500)
    return new CodedError('receive.malformed_request', error.message);
  log.error(
    { error: error instanceof Error ? error.stack : String(error) },
    'coordinator // failed',
  );
  return new CodedError('coordinator.internal');
}

function refusal(dependencies: ServerDependencies, error: unknown): IntakeEvent {
  const { code, detail, metadata } = coded(dependencies, error);
  dependencies.log.warn({ code, ...metadata }, 'coordinator // refused');
  return {
    type: 'refused',
    code,
    ...(detail ? { detail } : {}),
    ...(metadata ? { metadata } : {}),
  };
}

function sendError(dependencies: ServerDependencies, reply: FastifyReply, error: unknown) {
  const { code, message } = coded(dependencies, error);
  return reply.code(errorDefinition(code).httpStatus).send({ error: { code, message } });
}
