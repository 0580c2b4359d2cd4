import { Context } from '@temporalio/activity';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker, type WorkerInterceptors } from '@temporalio/worker';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { openTicket } from '../../crypto/ticket.ts';
import { Attempts } from '../../nodes/attempts.ts';
import type { Backend } from '../../nodes/backends/backend.ts';
import type { Channel } from '../../nodes/channel.ts';
import { listenForCommands } from '../../nodes/commands.ts';
import { openEdgeLink } from '../../nodes/edge-link.ts';
import { execute, executionContext, type ExecuteDependencies } from '../../nodes/execute.ts';
import { joinNetwork, type Membership } from '../../nodes/membership.ts';
import { pollWhileInPool, type Polling } from '../../nodes/polling.ts';
import type { ExecuteInput, NodeReturn } from '../../protocol/execute.ts';
import type { Database } from '../../prisma/client.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { signedBinding, testOperator } from '../../bench/signed-binding.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';
import type { EdgePlace } from './network-edge.ts';
import { until } from './until.ts';
import './quiet-temporal.ts';

const quiet = { info: () => {}, warn: () => {} };

/** What a faulty node does with a unit: it has the honest way at hand, and may return anything. */
export type Behaviour = (
  honest: (changed?: Partial<ExecuteDependencies>) => Promise<NodeReturn>,
  input: ExecuteInput,
  keys: NodeKeys,
  /** The coordinator's, as the node learned it when it registered. */
  returnKey: RequesterKey,
) => Promise<unknown>;

export interface TestNodeOptions {
  /** The coordinator's, where the account of the node's operator is opened. */
  readonly database: Database;
  readonly edge: EdgePlace;
  readonly backend: Backend;
  readonly name: string;
  readonly tier: number;
  /** By default one of its own. */
  readonly operatorId?: string;
  /** What it does with units. Canaries it answers honestly, and at once. */
  readonly behaviour?: Behaviour;
  /** Whether it treats canaries as units: by its behaviour and on its backend. */
  readonly isTrueToItself?: boolean;
  readonly claimedTokensPerSecond?: number;
  /** A converter that encodes what it returns to units; the SDK's own by default. */
  readonly payloadConverterPath?: string;
  /** What sees each activity before the node does. */
  readonly interceptors?: WorkerInterceptors;
  /** Whether it takes the coordinator's commands; it does unless told not to. */
  readonly takesCommands?: boolean;
}

export interface TestNode {
  readonly keys: NodeKeys;
  /** How many units it was given; canaries don't count. */
  executed(): number;
  /** Canaries that it was given. */
  probed(): number;
  /** Whether its command stream is open. */
  isConnected(): boolean;
  /** Goes on sending heartbeats, but asks for no work, until told to. */
  stopPolling(): Promise<void>;
  startPolling(): Promise<void>;
  /** Keeps its heartbeats to itself, until told to speak; what it runs goes on. */
  mute(): void;
  speak(): void;
  /** Takes nothing new, ends what it has, and stops. */
  drain(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * A real node in this process: real keys, registration, queue, envelopes; its will is free. Unless
 * it is true to itself it has passed its canary, and so can get work, when this returns.
 */
export async function startTestNode(options: TestNodeOptions): Promise<TestNode> {
  const { backend, database, isTrueToItself = false, payloadConverterPath } = options;
  const { interceptors = {} } = options;
  const { operatorId = `operator-${options.name}` } = options;
  await seedOperators(database, [testOperator(operatorId)]);
  const keys = await generateNodeKeys();
  const directory = await mkdtemp(join(tmpdir(), 'plx-test-node-'));
  const { address, ca } = options.edge;
  const link = await openEdgeLink({ address, ca, directory, keys, log: quiet });
  const { channel } = link;
  const muting = muted(channel);
  const counts = { units: 0, canaries: 0 };
  const attempts = new Attempts();
  const returnKey = () => membership.returnKey();
  const execute = createExecute({ ...options, keys, channel, returnKey, counts, attempts });
  let polling: Polling | undefined;
  let joined: Membership | undefined;
  const createWorker = async (converter?: string) => {
    const worker = await Worker.create({
      connection: link.connection(),
      taskQueue: nodeQueue(keys.nodeId),
      ...(converter ? { dataConverter: { payloadConverterPath: converter } } : {}),
      activities: { execute },
      interceptors,
      maxConcurrentActivityTaskExecutions: backend.slots,
      maxConcurrentActivityTaskPolls: 1,
    });
    link.serve(worker);
    return worker;
  };
  const startPolling = async (converter?: string) => {
    polling = pollWhileInPool(
      () => createWorker(converter),
      () => joined?.isInPool() ?? true,
      (worker) => link.letGo(worker),
    );
  };
  const stopPolling = async () => {
    await polling?.stop();
    polling = undefined;
  };
  await startPolling();
  const claims = {
    name: options.name,
    binding: await signedBinding(keys.nodeId, operatorId),
    tier: options.tier,
    workloadClasses: ['ai.inference'],
    modelId: backend.model.id,
    modelDigest: backend.model.digest,
    engine: backend.engine,
    features: ['choices' as const, ...backend.features],
    tokensPerSecond: options.claimedTokensPerSecond ?? 1_000,
    slots: backend.slots,
  };
  const state = () => ({ ready: true, running: attempts.list() });
  const membership = await joinNetwork(channel, () => claims, quiet, state);
  joined = membership;
  const commands =
    options.takesCommands === false ? undefined : listenForCommands(channel, attempts, quiet);
  if (!isTrueToItself) await until(() => isActive(database, keys.nodeId), 'the node is active');
  if (payloadConverterPath) {
    await stopPolling();
    await startPolling(payloadConverterPath);
  }
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await membership.leave();
    await commands?.stop();
    await stopPolling();
    await link.close();
    await rm(directory, { recursive: true, force: true });
  };
  return {
    keys,
    executed: () => counts.units,
    probed: () => counts.canaries,
    isConnected: () => commands?.isConnected() ?? false,
    stopPolling,
    startPolling: () => startPolling(payloadConverterPath),
    mute: () => muting(true),
    speak: () => muting(false),
    async drain() {
      await attempts.haveBegun(await membership.drain());
      await until(() => attempts.list().length === 0, 'what it has is over');
      await stop();
    },
    stop,
  };
}

/** Heartbeats may be lost on their way, and the node doesn't notice. @returns begins or ends it. */
function muted(channel: Channel): (isMute: boolean) => void {
  let isMute = false;
  const heartbeat = channel.heartbeat.bind(channel);
  channel.heartbeat = (...said) =>
    isMute ? Promise.resolve({ isKnown: true }) : heartbeat(...said);
  return (mute) => void (isMute = mute);
}

export async function isActive(database: Database, nodeId: string): Promise<boolean> {
  const node = await database.node.findUnique({ where: { id: nodeId } });
  return node?.status === 'active';
}

interface ExecuteOptions extends TestNodeOptions {
  readonly keys: NodeKeys;
  readonly channel: Channel;
  readonly returnKey: () => RequesterKey;
  readonly counts: { units: number; canaries: number };
  readonly attempts: Attempts;
}

function createExecute(options: ExecuteOptions): (input: ExecuteInput) => Promise<unknown> {
  const { database, keys, channel, returnKey, counts, attempts, isTrueToItself } = options;
  const { backend, behaviour = (honest) => honest() } = options;
  return async (input) => {
    const context = Context.current();
    const dependencies: ExecuteDependencies = {
      keys,
      backend,
      returnKey,
      attempts,
      openStream: (ticket) => channel.openStream(ticket, ticket.channelToken, () => {}),
    };
    const honest = (changed: Partial<ExecuteDependencies> = {}) =>
      execute({ ...dependencies, ...changed }, input, executionContext(context));
    // No node can tell a canary by what it is given; this one looks into the network's database.
    const ticket = await openTicket(input.ticket, keys.encryption.privateKey);
    if ((await database.request.count({ where: { id: ticket.unitId } })) === 0) {
      counts.canaries += 1;
      if (!isTrueToItself)
        return honest({
          backend: { ...instantBackend(), model: backend.model, engine: backend.engine },
        });
    } else counts.units += 1;
    // Whatever it does, its heartbeats say that it is at it.
    const attempt = attempts.begin(ticket);
    return behaviour(honest, input, keys, returnKey()).finally(() => attempt.end());
  };
}
