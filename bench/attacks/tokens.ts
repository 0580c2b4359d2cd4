import { randomBytes } from 'node:crypto';
import proto from '@temporalio/proto';
import { each, type Attack, type Expected, type Scene, type Told, type Work } from './attack.ts';

const service = proto.temporal.api.workflowservice.v1;
const { Payloads } = proto.temporal.api.common.v1;

type Way = 'Completed' | 'Failed' | 'Canceled' | 'heartbeat';

/** Everything that a task token is for. */
const WAYS: readonly Way[] = ['Completed', 'Failed', 'Canceled', 'heartbeat'];

/** Answers a task, by a token of whatever origin. */
export function answer(
  { grpc }: Pick<Work['owner'], 'grpc'>,
  way: Way,
  taskToken: Uint8Array,
  more: {
    readonly failure?: proto.temporal.api.failure.v1.IFailure;
    readonly details?: Buffer;
  } = {},
): Promise<Told> {
  const { failure, details } = more;
  const payloads = details && Payloads.create({ payloads: [{ data: details }] });
  const common = { namespace: 'default', identity: 'stranger', taskToken };
  const result = payloads ?? null;
  const ways: Record<Way, () => readonly [method: string, bytes: Uint8Array]> = {
    Completed: () => [
      'RespondActivityTaskCompleted',
      service.RespondActivityTaskCompletedRequest.encode({ ...common, result }).finish(),
    ],
    Failed: () => [
      'RespondActivityTaskFailed',
      service.RespondActivityTaskFailedRequest.encode({
        ...common,
        failure: failure ?? { message: 'no' },
      }).finish(),
    ],
    Canceled: () => [
      'RespondActivityTaskCanceled',
      service.RespondActivityTaskCanceledRequest.encode({ ...common, details: result }).finish(),
    ],
    heartbeat: () => [
      'RecordActivityTaskHeartbeat',
      service.RecordActivityTaskHeartbeatRequest.encode({ ...common, details: result }).finish(),
    ],
  };
  return grpc.call(...ways[way]());
}

/** Presents tokens in every way there is. */
function tokens(
  name: string,
  make: (token: Uint8Array, scene: Scene) => readonly Uint8Array[],
  by: 'stranger' | 'accomplice' = 'stranger',
): Attack {
  const attack = { name, group: 'task tokens' as const, expects: ['edge.token_invalid'] as const };
  const pairs = (made: readonly Uint8Array[]) =>
    made.flatMap((token) => WAYS.map((way) => ({ token, way })));
  return {
    ...attack,
    async run(scene) {
      const work = await scene.work();
      if (!work) return null;
      const presented = pairs(make(work.taskToken, scene));
      const node = by === 'stranger' ? work.owner : scene.accomplice;
      return each(attack, presented, ({ token, way }) => answer(node, way, token));
    },
  };
}

/** A token is used up, and then used again. */
function again(name: string, expects: readonly Expected[], first: Way, then: Way): Attack {
  return {
    name,
    group: 'task tokens',
    expects,
    async run(scene) {
      const work = await scene.spend();
      if (!work) return null;
      await answer(work.owner, first, work.taskToken);
      return answer(work.owner, then, work.taskToken);
    },
  };
}

function flipped(token: Uint8Array, index: number): Uint8Array {
  const changed = Buffer.from(token);
  changed[index] = (changed[index] ?? 0) ^ 1;
  return changed;
}

/** What Temporal itself takes for one: nothing of it is signed. */
function plainToken(workflowId: string): Uint8Array {
  const token = proto.temporal.api.common.v1.WorkflowExecution.encode({ workflowId, runId: '' });
  return Buffer.concat([
    Buffer.from([0x0a, 36]),
    Buffer.from('default'.padEnd(36)),
    token.finish(),
  ]);
}

/** Work that is somebody else's, or over. */
export const TOKEN_ATTACKS: readonly Attack[] = [
  tokens('made up', () => [randomBytes(16), randomBytes(200), randomBytes(2_000)]),
  tokens('empty', () => [new Uint8Array()]),
  tokens("in Temporal's own form", (_token, { victim }) => [plainToken(victim)]),
  tokens('cut off', (token) => [token.subarray(0, -1), token.subarray(1), token.subarray(0, 20)]),
  tokens('with a bit changed', (token) =>
    [0, 1, Math.floor(token.length / 2), token.length - 1].map((at) => flipped(token, at)),
  ),
  tokens('with more behind it', (token) => [Buffer.concat([token, Buffer.from([0])])]),
  tokens('doubled', (token) => [Buffer.concat([token, token])]),
  tokens("another node's", (token) => [token], 'accomplice'),
  again('used twice', ['over', 'edge.token_invalid'], 'Completed', 'Completed'),
  again(
    'used for a failure, then for a result',
    ['over', 'edge.token_invalid'],
    'Failed',
    'Completed',
  ),
  again('of an earlier attempt', ['over', 'edge.token_invalid'], 'Failed', 'heartbeat'),
];
