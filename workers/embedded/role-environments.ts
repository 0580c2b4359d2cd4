import { join } from 'node:path';
import { caSource } from '../../crypto/ca.ts';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { edgeCaPath, writeEdgeCa } from './edge-ca.ts';
import { EMBEDDED_MODEL_ID } from './model.ts';
import type { Servers, Settled } from './network.ts';
import { bindEmbeddedNode, CHAIN_ID } from './operators.ts';
import { secretFile } from './seed.ts';

const NAMESPACE = 'default';

export type Environments = ReadonlyMap<string, Readonly<Record<string, string>>>;

/**
 * Makes the keys of nodes that have none, which takes seconds: their operators have to sign for
 * them. Each node's are in its own directory, as its operator would have them.
 */
export async function makeNodeKeys({
  dataDir,
  nodes,
}: Pick<Settled, 'dataDir' | 'nodes'>): Promise<void> {
  await Promise.all(nodes.map(({ name }) => loadOrCreateNodeKeys(join(dataDir, 'keys', name))));
}

/** What each role gets to know, and nothing else. */
export async function roleEnvironments(
  { dataDir, ports, modelPath, nodes }: Settled,
  servers: Servers,
): Promise<Environments> {
  const keys = join(dataDir, 'keys');
  const intakeToken = await secretFile(join(keys, 'intake-token'));
  const edgeToken = await secretFile(join(keys, 'edge-token'));
  const temporal = { TEMPORAL_ADDRESS: servers.temporalAddress, TEMPORAL_NAMESPACE: NAMESPACE };
  const environments = new Map<string, Record<string, string>>();
  environments.set('coordinator', {
    ...temporal,
    DATABASE_URL: servers.databaseUrl,
    PLX_COORDINATOR_PORT: String(ports.coordinator),
    PLX_COORDINATOR_KEYS: join(keys, 'coordinator'),
    ...passedOn(
      'PLX_SAMPLING_RATES',
      'PLX_SAMPLING_EPOCH_SECONDS',
      'PLX_JOIN',
      'PLX_CERTIFICATE_SECONDS',
      'PLX_COORDINATOR_METRICS_PORT',
    ),
    PLX_CHAIN_ID: String(CHAIN_ID),
    PLX_INTAKE_TOKEN: intakeToken,
    PLX_EDGE_TOKEN: edgeToken,
  });
  environments.set('gateway', {
    DATABASE_URL: servers.databaseUrl,
    PLX_COORDINATOR_URL: servers.coordinatorUrl,
    PLX_GATEWAY_PORT: String(ports.gateway),
    PLX_GATEWAY_KEYS: join(keys, 'gateway'),
    ...passedOn('PLX_PUBLIC_URL', 'PLX_TRUSTED_PROXIES', 'PLX_GATEWAY_METRICS_PORT'),
    PLX_CHAIN_ID: String(CHAIN_ID),
    PLX_INTAKE_TOKEN: intakeToken,
    PLX_TEMPORAL_UI_URL: servers.temporalUiUrl,
    TEMPORAL_NAMESPACE: NAMESPACE,
  });
  environments.set('edge', {
    ...temporal,
    DATABASE_URL: servers.databaseUrl,
    PLX_COORDINATOR_URL: servers.coordinatorUrl,
    PLX_EDGE_TOKEN: edgeToken,
    PLX_EDGE_PORT: String(ports.edge),
    PLX_EDGE_NAMES: 'localhost,127.0.0.1',
    PLX_EDGE_KEYS: join(keys, 'edge'),
    PLX_BLOB_DIR: join(dataDir, 'blobs'),
    ...passedOn('PLX_EDGE_METRICS_PORT'),
  });
  const edgeCa = edgeCaPath(dataDir);
  await writeEdgeCa(edgeCa, await caSource({ directory: join(keys, 'coordinator') })());
  for (const node of nodes)
    environments.set(node.name, {
      PLX_EDGE_ADDRESS: `127.0.0.1:${ports.edge}`,
      PLX_EDGE_CA: edgeCa,
      PLX_NODE_NAME: node.name,
      PLX_OPERATOR_BINDING: await bindEmbeddedNode(keys, node),
      PLX_NODE_TIER: String(node.tier),
      PLX_NODE_SLOTS: '2',
      PLX_NODE_KEYS: join(keys, node.name),
      PLX_MODEL_ID: EMBEDDED_MODEL_ID,
      MODEL_PATH: modelPath,
    });
  return environments;
}

/** Settings that mean the same here as for the role itself. */
function passedOn(...names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
}
