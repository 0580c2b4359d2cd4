import { PassThrough } from 'node:stream';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { sameSecret } from '../crypto/channel.ts';
import { EnvelopeError } from '../crypto/errors.ts';
import { STREAM_FRAME_CHARACTERS_MAX } from '../crypto/stream.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { CodedError, errorDefinition } from '../protocol/errors.ts';
import {
  isNodeId,
  isRequestId,
  isUnitId,
  type NodeId,
  type RequestId,
  type UnitId,
} from '../protocol/ids.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import { firstIssue } from '../protocol/issues.ts';
import { RETURN_KEY_HEADER } from '../protocol/presence.ts';
import { LineSplitter } from '../protocol/lines.ts';
import { intakeCallSchema } from '../protocol/receive-schema.ts';
import { serveIntakeCall, type IntakeDependencies } from './call.ts';
import type { Commands } from './commands.ts';
import { drain, heartbeat, leave } from './heartbeat.ts';
import { assertHeartbeatToken, registerNode, type RegistrationDependencies } from './nodes.ts';
import { probeSoon } from './probe.ts';
import type { IncomingStream } from './relay.ts';
import { cancelRun, liveSteps } from './run.ts';

/** JSON around a payload of the largest size, with base64's third. */
const BODY_BYTES_MAX = 1024 * 1024;
/** Between two lines on a quiet intake call, so that a dead connection is noticed. */
const PING_MS = 10_000;

export interface ServerDependencies extends IntakeDependencies, RegistrationDependencies {
  /** What a gateway must present; in production mutual TLS stands in front of it. */
  readonly intakeToken: string;
  readonly intakeKey: RequesterKey;
  readonly returnKey: RequesterKey;
  readonly onNodeSeen: () => void;
  readonly commands: Commands;
}

/** The coordinator's HTTP side: intake calls from gateways, and the side channel of nodes. */
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
  presenceRoutes(app, dependencies);
  return app;
}

function gatewayRoutes(app: FastifyInstance, dependencies: ServerDependencies): void {
  const { intakeToken, intakeKey } = dependencies;
  app.get('/v1/intake/key', () => intakeKey);
  app.post('/v1/intake', async (request, reply) => {
    assertGateway(request, intakeToken);
    const call = intakeCallSchema.safeParse(request.body);
    if (!call.success) throw new CodedError('receive.malformed_request', firstIssue(call.error));
    const lines = new PassThrough();
    const gone = new AbortController();
    reply.raw.on('close', () => gone.abort());
    const emit = (event: IntakeEvent) => void lines.write(`${JSON.stringify(event)}\n`);
    const ping = setInterval(() => emit({ type: 'ping' }), PING_MS);
    gone.signal.addEventListener('abort', () => clearInterval(ping));
    serveIntakeCall(dependencies, call.data, emit, gone.signal)
      .catch((error: unknown) => emit(refusal(dependencies, error)))
      .finally(() => {
        clearInterval(ping);
        lines.end();
      });
    return reply.type('application/x-ndjson').send(lines);
  });
}

/** What gateways ask about a request that was accepted; they check whose it is. */
function runRoutes(app: FastifyInstance, dependencies: ServerDependencies): void {
  const { intakeToken } = dependencies;
  app.get<{ Params: { id: string } }>('/v1/intake/requests/:id/steps', async (request) => {
    assertGateway(request, intakeToken);
    return { steps: await liveSteps(dependencies, requestIdOf(request.params.id)) };
  });
  app.post<{ Params: { id: string } }>('/v1/intake/requests/:id/cancel', async (request, reply) => {
    assertGateway(request, intakeToken);
    await cancelRun(dependencies, requestIdOf(request.params.id));
    return reply.code(204).send();
  });
}

function assertGateway(request: FastifyRequest, intakeToken: string): void {
  if (!sameSecret(bearer(request), intakeToken)) throw new CodedError('receive.unauthorized');
}

function requestIdOf(text: string): RequestId {
  if (!isRequestId(text)) throw new CodedError('gateway.request_not_found');
  return text;
}

function nodeRoutes(app: FastifyInstance, dependencies: ServerDependencies): void {
  const { channelSecret, returnKey, onNodeSeen, relay, commands } = dependencies;
  app.post('/v1/nodes/register', async (request) => {
    const heartbeatToken = await registerNode(dependencies, request.body);
    onNodeSeen();
    probeSoon(dependencies);
    return { heartbeatToken, returnKey };
  });
  app.get<NodeParams>('/v1/nodes/:nodeId/commands', (request, reply) => {
    const nodeId = nodeIdOf(request.params.nodeId);
    assertHeartbeatToken(channelSecret, nodeId, bearer(request));
    return reply.type('application/x-ndjson').send(commands.connect(nodeId));
  });
  app.post<{ Params: FrameParams; Body: AsyncIterable<Uint8Array> }>(
    '/v1/nodes/:nodeId/units/:unitId/:dispatch/frames',
    async (request, reply) => {
      const stream = relay.open(attemptOf(request.params), bearer(request));
      try {
        await takeFrames(stream, request.body);
      } finally {
        stream.close();
      }
      return reply.code(204).send();
    },
  );
}

async function takeFrames(stream: IncomingStream, body: AsyncIterable<Uint8Array>): Promise<void> {
  const lines = new LineSplitter();
  const decoder = new TextDecoder();
  for await (const bytes of body) {
    for (const line of lines.push(decoder.decode(bytes, { stream: true }))) stream.accept(line);
    if (lines.pendingCharacters > STREAM_FRAME_CHARACTERS_MAX)
      throw new CodedError('relay.bad_frame', 'It is too long.');
  }
}

interface NodeParams {
  readonly Params: { readonly nodeId: string };
}

/** How a node says that it is alive, that it takes nothing new, and that it goes. */
function presenceRoutes(app: FastifyInstance, dependencies: ServerDependencies): void {
  app.post<NodeParams>('/v1/nodes/:nodeId/heartbeat', async (request, reply) => {
    const nodeId = nodeIdOf(request.params.nodeId);
    const noted = await heartbeat(dependencies, nodeId, bearer(request), request.body);
    if (noted.bringsCapacity) {
      dependencies.onNodeSeen();
      probeSoon(dependencies);
    }
    reply.header(RETURN_KEY_HEADER, dependencies.returnKey.x);
    const code = noted.removedFor;
    if (code === null) return reply.code(204).send();
    return { removed: { code, message: errorDefinition(code).message } };
  });
  app.post<NodeParams>('/v1/nodes/:nodeId/drain', async (request) => {
    const nodeId = nodeIdOf(request.params.nodeId);
    return { attempts: await drain(dependencies, nodeId, bearer(request)) };
  });
  app.post<NodeParams>('/v1/nodes/:nodeId/leave', async (request, reply) => {
    await leave(dependencies, nodeIdOf(request.params.nodeId), bearer(request));
    return reply.code(204).send();
  });
}

interface FrameParams {
  readonly nodeId: string;
  readonly unitId: string;
  readonly dispatch: string;
}

const dispatchNumber = z.coerce.number().int().min(1).max(0xffff_ffff);

function attemptOf(params: FrameParams): { unitId: UnitId; dispatch: number; nodeId: NodeId } {
  const dispatch = dispatchNumber.safeParse(params.dispatch);
  if (!isUnitId(params.unitId) || !dispatch.success) throw new CodedError('relay.forbidden');
  return { unitId: params.unitId, dispatch: dispatch.data, nodeId: nodeIdOf(params.nodeId) };
}

function nodeIdOf(text: string): NodeId {
  if (!isNodeId(text)) throw new CodedError('node.unknown');
  return text;
}

function bearer(request: FastifyRequest): string {
  return /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
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
  const { code, detail } = coded(dependencies, error);
  dependencies.log.warn({ code }, 'coordinator // receive: refused');
  return { type: 'refused', code, ...(detail ? { detail } : {}) };
}

function sendError(dependencies: ServerDependencies, reply: FastifyReply, error: unknown) {
  const { code, message } = coded(dependencies, error);
  return reply.code(errorDefinition(code).httpStatus).send({ error: { code, message } });
}
