import proto from '@temporalio/proto';
import type { Attack, Expected, Scene, Told, Work } from './attack.ts';
import { GrpcAttacker } from './grpc.ts';
import { answer } from './tokens.ts';

const { TimeoutType } = proto.temporal.api.enums.v1;

type Failure = proto.temporal.api.failure.v1.IFailure;

const LONG_CHARACTERS = 200_000;
/** More than any result or failure may have. */
const OVERSIZE_BYTES = 8 * 2 ** 20;

/** A lie about work: the answer may be a yes, but the request that the work is of goes on. */
function claim(
  name: string,
  run: (work: Work, scene: Scene) => Promise<Told>,
  expects: readonly Expected[] = ['accepted'],
): Attack {
  return {
    name,
    group: 'claims',
    expects,
    async run(scene) {
      const work = await scene.spend();
      return work && run(work, scene);
    },
  };
}

const failed = (work: Work, failure: Failure) =>
  answer(work.owner, 'Failed', work.taskToken, { failure });

/** On a connection of its own, which may be ended. */
async function tooMuch(work: Work, { edge }: Scene, way: 'Completed' | 'heartbeat'): Promise<Told> {
  const grpc = new GrpcAttacker(edge, work.owner.credentials);
  const details = Buffer.alloc(OVERSIZE_BYTES);
  const told = await answer({ grpc }, way, work.taskToken, { details });
  grpc.close();
  return told;
}

const application = (type: string, more: object = {}): Failure => ({
  message: 'stolen',
  applicationFailureInfo: { type, nonRetryable: true, ...more },
});

function nested(depth: number): Failure {
  let failure = application('execute.cancelled');
  for (let level = 0; level < depth; level += 1)
    failure = { message: 'stolen', applicationFailureInfo: { type: 'x' }, cause: failure };
  return failure;
}

/** What a node may say of its work, and mustn't be believed. */
export const CLAIM_ATTACKS: readonly Attack[] = [
  claim('“it was never delivered to me”', (work) => failed(work, application('edge.undelivered'))),
  claim('“I was lost”', (work) => failed(work, application('execute.node_lost'))),
  claim('“the caller has cancelled”', (work) => failed(work, application('execute.cancelled'))),
  claim('“the caller is out of credit”', (work) =>
    failed(work, application('receive.insufficient_credit')),
  ),
  claim(
    'a cancellation that nobody asked for',
    (work) => answer(work.owner, 'Canceled', work.taskToken),
    ['accepted', 'edge.malformed', 'edge.forbidden', 'over'],
  ),
  claim('a failure as if the run were cancelled', (work) =>
    failed(work, { message: 'stolen', canceledFailureInfo: {} }),
  ),
  claim('a failure as if the run were terminated', (work) =>
    failed(work, { message: 'stolen', terminatedFailureInfo: {} }),
  ),
  claim('a failure as if time were up', (work) =>
    failed(work, {
      message: 'stolen',
      timeoutFailureInfo: { timeoutType: TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE },
    }),
  ),
  claim(
    'a failure of 200,000 characters',
    (work) =>
      failed(work, {
        message: 'm'.repeat(LONG_CHARACTERS),
        stackTrace: 's'.repeat(LONG_CHARACTERS),
        applicationFailureInfo: { type: 't'.repeat(LONG_CHARACTERS) },
      }),
    ['accepted', 'edge.too_large'],
  ),
  claim('a failure with 90 causes', (work) => failed(work, nested(90)), [
    'accepted',
    'edge.malformed',
  ]),
  claim(
    'a failure that asks to be tried again in a year',
    (work) =>
      failed(
        work,
        application('execute.backend_failed', {
          nonRetryable: false,
          nextRetryDelay: { seconds: 31_536_000 },
        }),
      ),
    ['accepted'],
  ),
  claim('a result of 8 MiB', (work, scene) => tooMuch(work, scene, 'Completed'), [
    'edge.too_large',
    'closed',
  ]),
  claim('a heartbeat of 8 MiB', (work, scene) => tooMuch(work, scene, 'heartbeat'), [
    'edge.too_large',
    'closed',
  ]),
  claim('a result that is none', (work) =>
    answer(work.owner, 'Completed', work.taskToken, { details: Buffer.from('{"poe":1}') }),
  ),
];
