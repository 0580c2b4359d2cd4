import { Context } from '@temporalio/activity';
import { Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { loadOrCreateNodeKeys } from '../crypto/key-files.ts';
import type { NodeKeys } from '../crypto/keys.ts';
import { Attempts } from '../nodes/attempts.ts';
import type { Backend } from '../nodes/backends/backend.ts';
import type { NodeClaims } from '../nodes/channel.ts';
import { listenForCommands } from '../nodes/commands.ts';
import { openEdgeLink, type EdgeLink } from '../nodes/edge-link.ts';
import { execute, executionContext } from '../nodes/execute.ts';
import { watchHealth } from '../nodes/health.ts';
import { joinNetwork } from '../nodes/membership.ts';
import { pollWhileInPool } from '../nodes/polling.ts';
import type { Binding } from '../protocol/binding.ts';
import type { ExecuteInput, NodeActivities } from '../protocol/execute.ts';
import { nodeQueue } from '../protocol/queues.ts';
import { nodeEnv, readConfig, type NodeConfig } from './config.ts';
import { serveMetricsOn } from './metrics.ts';
import { NodeMetrics } from './node-metrics.ts';
import { readBinding } from './binding-file.ts';
import { readEdgeCa } from './edge-ca.ts';
import { startBackend } from './node-backend.ts';
import { createLogger, runRole, type RunningRole } from './role.ts';
import { installTemporalRuntime } from './runtime.ts';

/** What runs when the node is stopped may take this long to end; then it is given up. */
const SHUTDOWN_GRACE = '30s';

/** Nodes aren't told it: the edge puts it in. */
const NAMESPACE = 'default';

/** A node: a Temporal activity worker on its own queue, with its own keys and one backend. */
async function startNode(): Promise<RunningRole> {
  const config = readConfig('node', nodeEnv);
  const log = createLogger('node', config.PLX_LOG_LEVEL);
  installTemporalRuntime(log);
  const keys = await loadOrCreateNodeKeys(config.PLX_NODE_KEYS, {
    passphrase: config.PLX_NODE_KEYS_PASSPHRASE,
    before: config.PLX_NODE_KEYS_PASSPHRASE_BEFORE,
  });
  const binding = await readBinding(config.PLX_OPERATOR_BINDING, keys.nodeId);
  const { PLX_EDGE_CA: caFile } = config;
  const ca = caFile === undefined ? undefined : await readEdgeCa(caFile);
  const { backend, tokensPerSecond } = await startBackend(config, log);
  const link = await linkToEdge(config, keys, ca, log);
  const { channel } = link;

  const attempts = new Attempts();
  const metrics = new NodeMetrics();
  const activities: NodeActivities = {
    execute: (input: ExecuteInput) => {
      log.info('node // execute');
      const execution = execute(
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
          onResult: (usage) => metrics.returned(usage),
        },
        input,
        executionContext(Context.current()),
      );
      return metrics.unit(execution);
    },
  };
  const health = watchHealth(backend, log);
  metrics.watch({ attempts, backend, health });
  await serveMetricsOn(config.PLX_NODE_METRICS_PORT, metrics.registry);
  const membership = await joinNetwork(
    channel,
    () => claims(config, binding, backend, tokensPerSecond),
    log,
    () => ({ ready: health.isHealthy(), running: attempts.list() }),
  );
  const commands = listenForCommands(channel, attempts, log);
  // Only now: what waits on the queue of a restarted node needs the coordinator's return key.
  const polling = pollWhileInPool(
    () => createWorker(link, keys, config.PLX_NODE_SLOTS, activities),
    () => membership.isInPool(),
    (worker) => link.letGo(worker),
  );

  return {
    ready: { nodeId: keys.nodeId, tokensPerSecond, engine: backend.engine },
    ended: polling.ended,
    async stop() {
      // What was given to it before it said so still arrives.
      await attempts.haveBegun(await membership.drain());
      await polling.stop();
      await membership.leave();
      await commands.stop();
      await health.stop();
      await link.close();
      await backend.close();
    },
  };
}

async function createWorker(
  link: EdgeLink,
  { nodeId }: NodeKeys,
  slots: number,
  activities: NodeActivities,
): Promise<Worker> {
  const worker = await Worker.create({
    connection: link.connection(),
    namespace: NAMESPACE,
    taskQueue: nodeQueue(nodeId),
    activities: { ...activities },
    maxConcurrentActivityTaskExecutions: slots,
    maxConcurrentActivityTaskPolls: 1,
    shutdownGraceTime: SHUTDOWN_GRACE,
  });
  link.serve(worker);
  return worker;
}

async function linkToEdge(
  config: NodeConfig,
  keys: NodeKeys,
  ca: string | undefined,
  log: Logger,
): Promise<EdgeLink> {
  const { PLX_JOIN_TOKEN: joinToken } = config;
  return openEdgeLink({
    address: config.PLX_EDGE_ADDRESS,
    directory: config.PLX_NODE_KEYS,
    keys,
    log,
    ...(ca === undefined ? {} : { ca }),
    ...(joinToken === undefined ? {} : { joinToken }),
  });
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
    features: ['choices', ...backend.features],
    tokensPerSecond,
    slots: backend.slots,
    ...(config.PLX_MACHINE === undefined ? {} : { machine: config.PLX_MACHINE }),
  };
}

await runRole(startNode);
