import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { STREAM_FRAME_CHARACTERS_MAX } from '../crypto/stream.ts';
import { CodedError, errorDefinition } from '../protocol/errors.ts';
import { isNodeId, isUnitId, type NodeId, type UnitId } from '../protocol/ids.ts';
import { LineSplitter } from '../protocol/lines.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { CHANNEL_TOKEN_HEADER } from '../protocol/side-channel.ts';
import type { BackgroundDependencies } from './background.ts';
import type { Commands } from './commands.ts';
import { assertEdge } from './edge-auth.ts';
import { drain, heartbeat, leave, nextChallenge, type PresenceDependencies } from './heartbeat.ts';
import { registerNode, type RegistrationDependencies } from './nodes.ts';
import { probeSoon } from './probe.ts';
import type { IncomingStream, Relay } from './relay.ts';

export interface NodeDependencies
  extends PresenceDependencies, BackgroundDependencies, RegistrationDependencies {
  /** What an edge must present. */
  readonly edgeToken: string;
  readonly returnKey: RequesterKey;
  readonly onNodeSeen: () => void;
  readonly commands: Commands;
  readonly relay: Relay;
}

/** What edges pass on of nodes: the node of the path is who the node's certificate says. */
export function nodeRoutes(app: FastifyInstance, dependencies: NodeDependencies): void {
  const { edgeToken, commands } = dependencies;
  void app.register(async (routes) => {
    // Before the body is read: a stranger's isn't.
    routes.addHook('onRequest', async (request) => assertEdge(request, edgeToken));
    presenceRoutes(routes, dependencies);
    routes.get<NodeParams>('/v1/nodes/:nodeId/commands', (request, reply) =>
      reply.type('application/x-ndjson').send(commands.connect(nodeOf(request))),
    );
    frameRoutes(routes, dependencies);
  });
}

/** How a node says that it is there, that it takes nothing new, and that it goes. */
function presenceRoutes(app: FastifyInstance, dependencies: NodeDependencies): void {
  const { returnKey, onNodeSeen } = dependencies;
  app.post<NodeParams>('/v1/nodes/:nodeId/register', async (request) => {
    const nodeId = nodeOf(request);
    assertOwn(request.body, nodeId);
    await registerNode(dependencies, request.body);
    onNodeSeen();
    probeSoon(dependencies);
    return { returnKey, challenge: await nextChallenge(dependencies, nodeId) };
  });
  app.post<NodeParams>('/v1/nodes/:nodeId/heartbeat', (request, reply) =>
    noteHeartbeat(dependencies, nodeOf(request), request.body, reply),
  );
  app.post<NodeParams>('/v1/nodes/:nodeId/drain', async (request) => ({
    attempts: await drain(dependencies, nodeOf(request)),
  }));
  app.post<NodeParams>('/v1/nodes/:nodeId/leave', async (request, reply) => {
    await leave(dependencies, nodeOf(request));
    return reply.code(204).send();
  });
}

async function noteHeartbeat(
  dependencies: NodeDependencies,
  nodeId: NodeId,
  body: unknown,
  reply: FastifyReply,
): Promise<object> {
  const returnKey = dependencies.returnKey.x;
  try {
    const noted = await heartbeat(dependencies, nodeId, body);
    if (noted.bringsCapacity) {
      dependencies.onNodeSeen();
      probeSoon(dependencies);
    }
    const { next: challenge, removedFor: code } = noted;
    if (code === null) return { challenge, returnKey };
    return { challenge, returnKey, removed: { code, message: errorDefinition(code).message } };
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'node.heartbeat_replayed') throw error;
    // An answer may have been lost: the node isn't stuck with a challenge of the past.
    const { code, message } = error;
    const challenge = await nextChallenge(dependencies, nodeId);
    reply.code(errorDefinition(code).httpStatus);
    return { error: { code, message }, challenge };
  }
}

function frameRoutes(app: FastifyInstance, { relay }: NodeDependencies): void {
  // What is left of a body that was refused is poured away: the connection is used again.
  app.addHook('onResponse', async (request) => void request.raw.resume());
  app.post<{ Params: FrameParams; Body: Readable }>(
    '/v1/nodes/:nodeId/units/:unitId/:dispatch/frames',
    async (request, reply) => {
      const token = request.headers[CHANNEL_TOKEN_HEADER];
      const stream = relay.open(attemptOf(request.params), token);
      try {
        await takeFrames(stream, request.body);
      } finally {
        stream.close();
      }
      return reply.code(204).send();
    },
  );
}

async function takeFrames(stream: IncomingStream, body: Readable): Promise<void> {
  const lines = new LineSplitter();
  const decoder = new TextDecoder();
  // A refusal has to get back, so the connection outlives it.
  const chunks = body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  for await (const bytes of chunks) {
    for (const line of lines.push(decoder.decode(bytes, { stream: true }))) stream.accept(line);
    if (lines.pendingCharacters > STREAM_FRAME_CHARACTERS_MAX)
      throw new CodedError('relay.bad_frame', 'It is too long.');
  }
}

interface NodeParams {
  readonly Params: { readonly nodeId: string };
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

/** A node registers itself, and nobody else. What isn't a registration at all is told as that. */
function assertOwn(body: unknown, nodeId: NodeId): void {
  const claimed = z.object({ registration: z.object({ nodeId: z.string() }) }).safeParse(body);
  if (claimed.success && claimed.data.registration.nodeId !== nodeId)
    throw new CodedError('node.registration_refused');
}

function nodeOf(request: FastifyRequest<NodeParams>): NodeId {
  return nodeIdOf(request.params.nodeId);
}

function nodeIdOf(text: string): NodeId {
  if (!isNodeId(text)) throw new CodedError('node.unknown');
  return text;
}
