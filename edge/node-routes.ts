import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import { wholeBody, type BodyLimits } from './body.ts';
import type { Answer, CoordinatorClient } from './coordinator-client.ts';
import { admit, UnderWay, whenOver, type NodeAdmission, type NodeCall } from './node-calls.ts';

const KIB = 1_024;
/** Until a message of some KB has to be there. */
const MESSAGE_MS_MAX = 10_000;

export interface NodeRouteDependencies {
  readonly coordinator: CoordinatorClient;
  /** The node whose key a signing request is for. Throws a `CodedError` for what is none. */
  readonly nodeOfRequest: (csr: string) => NodeId;
  /** Whether a stranger at an address may enrol, as far as their number goes. */
  readonly allowAddress: (address: string) => boolean;
  /** Until a message has to be there; 10,000 by default. */
  readonly messageMsMax?: number;
}

type Dependencies = NodeAdmission & NodeRouteDependencies;

const enrolment = z.strictObject({
  csr: z.string(),
  joinToken: z.string().optional(),
});

/** Certificates, registration, presence and commands. */
export function nodeRoutes(app: FastifyInstance, dependencies: Dependencies): void {
  const forward = (what: string, call: NodeCall, kilobytesMax: number, mayBeRemoved: boolean) =>
    app.post(`/v1/node/${what}`, async (request, reply) => {
      const nodeId = await admit(dependencies, request, call, mayBeRemoved);
      const body = await wholeBody(request.raw, messageLimits(dependencies, kilobytesMax));
      const answer = await dependencies.coordinator.forNode(nodeId, what, body);
      return pass(dependencies, answer, reply, nodeId);
    });
  // A removed node is told why it was.
  forward('register', 'register', 32, true);
  forward('heartbeat', 'heartbeat', 64, true);
  forward('drain', 'part', 1, true);
  forward('leave', 'part', 1, true);
  forward('certificate', 'certificate', 16, false);
  app.post('/v1/enroll', (request, reply) => enrol(dependencies, request, reply));
  commandRoute(app, dependencies);
}

function messageLimits({ messageMsMax }: Dependencies, kilobytesMax: number): BodyLimits {
  const totalMsMax = messageMsMax ?? MESSAGE_MS_MAX;
  return { bytesMax: kilobytesMax * KIB, idleMsMax: totalMsMax, totalMsMax };
}

/** The one call that needs no certificate: it is how a node gets its first. */
async function enrol(
  dependencies: Dependencies,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  if (!dependencies.allowAddress(request.raw.socket.remoteAddress ?? ''))
    throw new CodedError('edge.too_many', 'It is enrolment.');
  const body = await wholeBody(request.raw, messageLimits(dependencies, 16));
  const parsed = enrolment.safeParse(parseJson(body));
  if (!parsed.success) throw new CodedError('edge.malformed');
  const nodeId = dependencies.nodeOfRequest(parsed.data.csr);
  if (await dependencies.isRemoved(nodeId)) throw new CodedError('edge.node_removed');
  const answer = await dependencies.coordinator.forNode(nodeId, 'enroll', body);
  return pass(dependencies, answer, reply, nodeId);
}

/** A coordinator's answer as it is; a refusal is one of the edge's, too. */
export function pass(
  { refused }: Dependencies | Pick<NodeAdmission, 'refused'>,
  { status, body, code }: Answer,
  reply: FastifyReply,
  nodeId: NodeId,
): FastifyReply {
  if (code) refused(code, { nodeId, detail: 'by the coordinator' });
  reply.code(status);
  return body === undefined ? reply.send() : reply.type('application/json').send(body);
}

/** One stream per node: an older one may be a connection whose end nobody has noticed yet. */
function commandRoute(app: FastifyInstance, dependencies: Dependencies): void {
  const streams = new UnderWay(1);
  dependencies.onRemoved((nodeId) => streams.abort(nodeId, new CodedError('edge.node_removed')));
  app.get('/v1/node/commands', async (request, reply) => {
    const nodeId = await admit(dependencies, request, 'commands');
    streams.abort(nodeId, new CodedError('edge.too_many', 'Another stream took its place.'));
    const stream = streams.begin(nodeId);
    whenOver(reply, () => {
      streams.end(nodeId, stream);
      stream.abort();
    });
    const lines = await dependencies.coordinator
      .commands(nodeId, stream.signal)
      .catch((error: unknown) => {
        throw stream.signal.reason instanceof CodedError ? stream.signal.reason : error;
      });
    stream.signal.addEventListener('abort', () => lines.destroy());
    return reply.type('application/x-ndjson').send(lines);
  });
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
