import { Context } from '@temporalio/activity';
import { Worker, type NativeConnection } from '@temporalio/worker';
import type { NodeKeys } from '../crypto/keys.ts';
import { Attempts } from '../nodes/attempts.ts';
import type { Backend } from '../nodes/backends/backend.ts';
import { listenForCommands } from '../nodes/commands.ts';
import type { EdgeLink } from '../nodes/edge-link.ts';
import { execute, executionContext, type ExecuteDependencies } from '../nodes/execute.ts';
import { joinNetwork } from '../nodes/membership.ts';
import { pollWhileInPool } from '../nodes/polling.ts';
import type { ExecuteInput } from '../protocol/execute.ts';
import { nodeQueue } from '../protocol/queues.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { signedBinding } from './signed-binding.ts';

const quiet = { info: () => {}, warn: () => {} };

export interface InstantNodeOptions {
  readonly link: EdgeLink;
  /** Its way to Temporal; by default the edge's, as in the product. */
  readonly connection?: NativeConnection;
  readonly keys: NodeKeys;
  readonly backend: Backend;
  readonly name: string;
  /** An operator of tests and benchmarks, which signs for it. */
  readonly operatorId: string;
  readonly tier: number;
  /** Makes of the honest way what this node does with a unit; by default nothing else. */
  readonly behave?: (
    honest: () => Promise<unknown>,
    input: ExecuteInput,
    returnKey: RequesterKey,
  ) => Promise<unknown>;
}

export interface InstantNode {
  /** Says goodbye and ends what runs. */
  stop(): Promise<void>;
}

/** A real node over a backend that answers at once: registration, queue, envelopes, proofs. */
export async function startInstantNode(options: InstantNodeOptions): Promise<InstantNode> {
  const { link, keys, backend, behave = (honest) => honest() } = options;
  const { channel } = link;
  const attempts = new Attempts();
  const dependencies: ExecuteDependencies = {
    keys,
    attempts,
    backend,
    returnKey: () => membership.returnKey(),
    openStream: () => {
      throw new Error('The benchmark asks for no streams.');
    },
  };
  const createWorker = async () => {
    const worker = await Worker.create({
      connection: options.connection ?? link.connection(),
      taskQueue: nodeQueue(keys.nodeId),
      activities: {
        execute: (input: ExecuteInput) =>
          behave(
            () => execute(dependencies, input, executionContext(Context.current())),
            input,
            membership.returnKey(),
          ),
      },
      maxConcurrentActivityTaskExecutions: backend.slots,
      maxConcurrentActivityTaskPolls: 1,
    });
    if (options.connection === undefined) link.serve(worker);
    return worker;
  };
  const binding = await signedBinding(keys.nodeId, options.operatorId);
  const membership = await joinNetwork(
    channel,
    () => ({
      name: options.name,
      binding,
      tier: options.tier,
      workloadClasses: ['ai.inference'],
      modelId: backend.model.id,
      modelDigest: backend.model.digest,
      engine: backend.engine,
      features: ['choices' as const, ...backend.features],
      tokensPerSecond: 1_000,
      slots: backend.slots,
    }),
    quiet,
    () => ({ ready: true, running: attempts.list() }),
  );
  const commands = listenForCommands(channel, attempts, quiet);
  const polling = pollWhileInPool(
    createWorker,
    () => membership.isInPool(),
    (worker) => link.letGo(worker),
  );
  return {
    async stop() {
      await membership.leave();
      await commands.stop();
      await polling.stop();
    },
  };
}
