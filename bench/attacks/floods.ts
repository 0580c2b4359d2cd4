import { setTimeout as sleep } from 'node:timers/promises';
import proto from '@temporalio/proto';
import { nodeQueue } from '../../protocol/queues.ts';
import { outcomeOf, type EdgeAddress } from './attack.ts';
import { GrpcAttacker } from './grpc.ts';
import { connectSecurely } from './raw.ts';
import type { Stranger } from './stranger.ts';

const { PollActivityTaskQueueRequest } = proto.temporal.api.workflowservice.v1;

/** As many as an edge lets one node have. */
const CONNECTIONS = 6;
const POLLS_AT_ONCE = 300;
const BEATS_PER_SECOND = 10;

/** Polls that one node begins, hundreds at once. @returns what each was told, in one word. */
export async function pollFlood(
  edge: EdgeAddress,
  { keys, credentials }: Stranger,
  polls: number,
  patienceMs = 500,
): Promise<string[]> {
  const taskQueue = { name: nodeQueue(keys.nodeId) };
  const message = PollActivityTaskQueueRequest.encode({ namespace: 'default', taskQueue }).finish();
  const attackers = Array.from({ length: CONNECTIONS }, () => new GrpcAttacker(edge, credentials));
  const told = await inLanes(POLLS_AT_ONCE, polls, async (index) => {
    const attacker = attackers[index % attackers.length];
    if (!attacker) throw new Error('there is no attacker');
    return outcomeOf(await attacker.once('PollActivityTaskQueue', message, { patienceMs }));
  });
  for (const attacker of attackers) attacker.close();
  return told;
}

/** TLS handshakes without a certificate, at a steady rate. @returns `made` or `refused`, each. */
export async function handshakeFlood(
  edge: EdgeAddress,
  perSecond: number,
  seconds: number,
): Promise<string[]> {
  const told: Promise<string>[] = [];
  for (let beat = 0; beat < seconds * BEATS_PER_SECOND; beat += 1) {
    for (let each = 0; each < perSecond / BEATS_PER_SECOND; each += 1) told.push(handshake(edge));
    await sleep(1_000 / BEATS_PER_SECOND);
  }
  return await Promise.all(told);
}

/** Begins a TLS connection, and leaves it as soon as it stands. */
function handshake(edge: EdgeAddress): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectSecurely(edge, { ALPNProtocols: ['http/1.1'] });
    socket.once('secureConnect', () => {
      resolve('made');
      socket.destroy();
    });
    socket.once('error', () => undefined);
    socket.once('close', () => resolve('refused'));
  });
}

/** The same edge, reached from an address that isn't an honest node's, where there is another. */
export function fromOneAddress(edge: EdgeAddress): EdgeAddress {
  const first = edge.from?.next();
  if (!first || first.done) return edge;
  const from = (function* () {
    for (;;) yield first.value;
  })();
  return { ...edge, from };
}

/** Runs something so many times, so many at a time. */
export async function inLanes<T>(
  lanes: number,
  times: number,
  run: (index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  let begun = 0;
  const lane = async () => {
    while (begun < times) results.push(await run(begun++));
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}
