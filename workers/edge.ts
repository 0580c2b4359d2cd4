import { startEdge } from '../edge/start.ts';
import { edgeEnv, readConfig } from './config.ts';
import { serveMetricsOn } from './metrics.ts';
import { createLogger, runRole, type RunningRole } from './role.ts';

/** The edge: the one address that nodes know, and the only part that strangers reach. */
async function startEdgeRole(): Promise<RunningRole> {
  const config = readConfig('edge', edgeEnv);
  const edge = await startEdge(
    {
      databaseUrl: config.DATABASE_URL,
      temporalAddress: config.TEMPORAL_ADDRESS,
      namespace: config.TEMPORAL_NAMESPACE,
      coordinatorUrl: config.PLX_COORDINATOR_URL,
      edgeToken: config.PLX_EDGE_TOKEN,
      host: config.PLX_EDGE_HOST,
      port: config.PLX_EDGE_PORT,
      names: config.PLX_EDGE_NAMES,
      keysDirectory: config.PLX_EDGE_KEYS,
      blobDirectory: config.PLX_BLOB_DIR,
    },
    createLogger('edge', config.PLX_LOG_LEVEL),
  );
  await serveMetricsOn(config.PLX_EDGE_METRICS_PORT, edge.metrics);
  return {
    ready: { address: edge.address },
    stop: () => edge.stop(),
  };
}

await runRole(startEdgeRole);
