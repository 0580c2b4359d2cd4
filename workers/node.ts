import { Context } from '@temporalio/activity';
import { NativeConnection, Worker } from '@temporalio/worker';
import { loadOrCreateNodeKeys } from '../crypto/key-files.ts';
import { Attempts } from '../nodes/attempts.ts';
import type { Backend } from '../nodes/backends/backend.ts';
import { Channel, type NodeClaims } from '../nodes/channel.ts';
import { listenForCommands } from '../nodes/commands.ts';
import { execute, executionContext } from '../nodes/execute.ts';
import { watchHealth } from '../nodes/health.ts';
import { joinNetwork } from '../nodes/membership.ts';
import type { Binding } from '../protocol/binding.ts';
import type { ExecuteInput, NodeActivities } from '../protocol/execute.ts';
import { nodeQueue } from '../protocol/queues.ts';
import { nodeEnv, readConfig, type NodeConfig } from './config.ts';
import { readBinding } from './binding-file.ts';
import { startBackend } from './node-backend.ts';
import { createLogger, runRole, type RunningRole } from './role.ts';
import { installTemporalRuntime } from './runtime.ts';

/** What runs when the node is stopped may take this long to end; then it is given up. */
const SHUTDOWN_GRACE = '30s';

/** A node: a Temporal activity worker on its own queue, with its own keys and one backend. */
async function startNode(): Promise<RunningRole> {
  const config = readConfig('node', nodeEnv);
  const log = createLogger('node', config.PLX_LOG_LEVEL);
  installTemporalRuntime(log);
  const keys = await loadOrCreateNodeKeys(config.PLX_NODE_KEYS);
  const binding = await readBinding(config.PLX_OPERATOR_BINDING, keys.nodeId);
  const { backend, tokensPerSecond } = await startBackend(config, log);
  const channel = new Channel(config.PLX_COORDINATOR_URL, keys);
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });

  const attempts = new Attempts();
  const activities: NodeActivities = {
    execute: (input: ExecuteInput) => {
      log.info('node // execute');
      return execute(
        {
          keys,
          backend,
          returnKey: () => membership.returnKey(),
          openStream: (ticket) =>
            channel.openStream(ticket, ticket.channelToken, (error) =>
              log.warn({ error: error.message }, 'node // stream lost, the work goes on'),
            ),
          attempts,
          onBackendFailed: (error) =>
            log.error({ error: error.message }, 'node // the backend failed a request'),
        },
        input,
        executionContext(Context.current()),
      );
    },
  };
  const worker = await Worker.create({
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    taskQueue: nodeQueue(keys.nodeId),
    activities: { ...activities },
    maxConcurrentActivityTaskExecutions: config.PLX_NODE_SLOTS,
    maxConcurrentActivityTaskPolls: 1,
    shutdownGraceTime: SHUTDOWN_GRACE,
  });
  const health = watchHealth(backend, log);
  const membership = await joinNetwork(
    channel,
    () => claims(config, binding, backend, tokensPerSecond),
    log,
    () => ({ ready: health.isHealthy(), running: attempts.list() }),
  );
  const commands = listenForCommands(channel, membership, attempts, log);
  // Only now: what waits on the queue of a restarted node needs the coordinator's return key.
  const running = worker.run();

  return {
    ready: { nodeId: keys.nodeId, tokensPerSecond, engine: backend.engine },
    ended: running,
    async stop() {
      // What was given to it before it said so still arrives.
      await attempts.haveBegun(await membership.drain());
      worker.shutdown();
      await running;
      await membership.leave();
      await commands.stop();
      await health.stop();
      await connection.close();
      await backend.close();
    },
  };
}

/** What the node says of itself; the network measures what it relies on. */
function claims(
  config: NodeConfig,
  binding: Binding,
  backend: Backend,
  tokensPerSecond: number,
): NodeClaims {
  return {
    name: config.PLX_NODE_NAME,
    binding,
    tier: config.PLX_NODE_TIER,
    workloadClasses: ['ai.inference'],
    modelId: backend.model.id,
    modelDigest: backend.model.digest,
    engine: backend.engine,
    tokensPerSecond,
    slots: backend.slots,
    ...(config.PLX_MACHINE === undefined ? {} : { machine: config.PLX_MACHINE }),
  };
}

await runRole(startNode);
