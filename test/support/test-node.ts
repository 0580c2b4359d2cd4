import { Context } from '@temporalio/activity';
import { NativeConnection, Worker } from '@temporalio/worker';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { openTicket } from '../../crypto/ticket.ts';
import { Attempts } from '../../nodes/attempts.ts';
import type { Backend } from '../../nodes/backends/backend.ts';
import { Channel } from '../../nodes/channel.ts';
import { listenForCommands } from '../../nodes/commands.ts';
import { execute, executionContext, type ExecuteDependencies } from '../../nodes/execute.ts';
import { joinNetwork } from '../../nodes/membership.ts';
import type { ExecuteInput, NodeReturn } from '../../protocol/execute.ts';
import type { Database } from '../../prisma/client.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';
import './quiet-temporal.ts';

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
  readonly temporalAddress: string;
  readonly coordinatorUrl: string;
  readonly backend: Backend;
  readonly name: string;
  readonly tier: number;
  /** By default one of its own. */
  readonly operatorId?: string;
  readonly behaviour?: Behaviour;
  /** A converter that encodes what it returns; the SDK's own by default. */
  readonly payloadConverterPath?: string;
  /** Whether it takes the coordinator's commands; it does unless told not to. */
  readonly takesCommands?: boolean;
}

export interface TestNode {
  readonly keys: NodeKeys;
  /** How many units it was given. */
  executed(): number;
  /** Whether its command stream is open. */
  isConnected(): boolean;
  stop(): Promise<void>;
}

/** A real node in this process: real keys, registration, queue, envelopes; its will is free. */
export async function startTestNode(options: TestNodeOptions): Promise<TestNode> {
  const { backend, behaviour = (honest) => honest(), payloadConverterPath } = options;
  const { operatorId = `operator-${options.name}` } = options;
  await seedOperators(options.database, [operatorId]);
  const keys = await generateNodeKeys();
  const channel = new Channel(options.coordinatorUrl, keys);
  const connection = await NativeConnection.connect({ address: options.temporalAddress });
  const attempts = new Attempts();
  const quiet = { info: () => {}, warn: () => {} };
  let executed = 0;
  let stopped = false;
  const worker = await Worker.create({
    connection,
    taskQueue: nodeQueue(keys.nodeId),
    ...(payloadConverterPath ? { dataConverter: { payloadConverterPath } } : {}),
    activities: {
      execute: async (input: ExecuteInput) => {
        executed += 1;
        const ticket = await openTicket(input.ticket, keys.encryption.privateKey);
        const attempt = attempts.begin(ticket);
        const context = Context.current();
        const dependencies: ExecuteDependencies = {
          keys,
          backend,
          returnKey: () => membership.returnKey(),
          attempts,
          openStream: (ticket) => channel.openStream(ticket, ticket.channelToken, () => {}),
        };
        const honest = (changed: Partial<ExecuteDependencies> = {}) =>
          execute({ ...dependencies, ...changed }, input, executionContext(context));
        return behaviour(honest, input, keys, membership.returnKey()).finally(attempt.end);
      },
    },
    maxConcurrentActivityTaskExecutions: backend.slots,
    maxConcurrentActivityTaskPolls: 1,
  });
  const running = worker.run();
  const membership = await joinNetwork(
    channel,
    () => ({
      name: options.name,
      operatorId,
      tier: options.tier,
      workloadClasses: ['ai.inference'],
      modelId: backend.model.id,
      modelDigest: backend.model.digest,
      engine: backend.engine,
      tokensPerSecond: 1_000,
      slots: backend.slots,
    }),
    quiet,
    () => ({ ready: true, running: attempts.list() }),
  );
  const commands =
    options.takesCommands === false
      ? undefined
      : listenForCommands(channel, membership, attempts, quiet);
  return {
    keys,
    executed: () => executed,
    isConnected: () => commands?.isConnected() ?? false,
    async stop() {
      if (stopped) return;
      stopped = true;
      await membership.leave();
      await commands?.stop();
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
