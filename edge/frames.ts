import type { FastifyInstance, FastifyRequest } from 'fastify';
import { STREAM_FRAME_CHARACTERS_MAX } from '../crypto/stream.ts';
import type { Database } from '../prisma/client.ts';
import { coordinatorOf } from '../prisma/pool.ts';
import { CodedError } from '../protocol/errors.ts';
import { isUnitId, type NodeId } from '../protocol/ids.ts';
import { RUNNING_MAX } from '../protocol/presence.ts';
import { boundLines, readBody } from './body.ts';
import type { CoordinatorClient } from './coordinator-client.ts';
import { admit, UnderWay, whenOver, type NodeAdmission } from './node-calls.ts';
import { pass } from './node-routes.ts';

/** Of one attempt: its text has at most 1 MiB, each sealed frame some hundred bytes around it. */
const STREAM_BYTES_MAX = 32 * 1_024 * 1_024;
/** A model may think for long before its first token. */
const SILENT_MS_MAX = 300_000;
/** An attempt's deadline is a day at most. */
const STREAM_MS_MAX = 86_400_000;

export interface FrameDependencies {
  readonly database: Database;
  readonly coordinator: CoordinatorClient;
  /** How long a stream may bring nothing; 300,000 by default. */
  readonly framesSilentMsMax?: number;
}

interface FrameParams {
  readonly Params: { readonly unitId: string; readonly dispatch: string };
}

/** Text on its way to whoever asked for it, by way of the coordinator that has the caller. */
export function frameRoutes(
  app: FastifyInstance,
  dependencies: NodeAdmission & FrameDependencies,
): void {
  const streams = new UnderWay(RUNNING_MAX);
  dependencies.onRemoved((nodeId) => streams.abort(nodeId, new CodedError('edge.node_removed')));
  app.post<FrameParams>('/v1/node/units/:unitId/:dispatch/frames', async (request, reply) => {
    const nodeId = await admit(dependencies, request, 'frames');
    const stream = streams.begin(nodeId);
    whenOver(reply, () => stream.abort());
    try {
      const answer = await forward(dependencies, request, nodeId, stream.signal);
      return pass(dependencies, answer, reply, nodeId);
    } finally {
      streams.end(nodeId, stream);
    }
  });
}

async function forward(
  { database, coordinator, framesSilentMsMax: idleMsMax = SILENT_MS_MAX }: FrameDependencies,
  request: FastifyRequest<FrameParams>,
  nodeId: NodeId,
  signal: AbortSignal,
) {
  const { unitId, dispatch } = request.params;
  const channelToken = /^Bearer ([\w-]{1,100})$/.exec(request.headers.authorization ?? '')?.[1];
  if (!isUnitId(unitId) || !/^\d{1,10}$/.test(dispatch) || channelToken === undefined)
    throw new CodedError('relay.forbidden');
  const coordinatorUrl = await coordinatorOf(database, unitId, nodeId);
  if (coordinatorUrl === undefined) throw new CodedError('relay.forbidden');
  const limits = { bytesMax: STREAM_BYTES_MAX, idleMsMax, totalMsMax: STREAM_MS_MAX };
  const lines = boundLines(readBody(request.raw, limits), STREAM_FRAME_CHARACTERS_MAX);
  const frames = { coordinatorUrl, nodeId, unitId, dispatch, channelToken, lines, signal };
  try {
    return await coordinator.frames(frames);
  } catch (error) {
    throw signal.reason instanceof CodedError ? signal.reason : error;
  }
}
