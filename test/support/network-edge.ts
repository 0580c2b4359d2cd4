import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { signedBinding } from '../../bench/signed-binding.ts';
import { caSource } from '../../crypto/ca.ts';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { startEdge } from '../../edge/start.ts';
import { testServers } from './servers.ts';

export const EDGE_TOKEN = 'test-edge-token-0123456789';

/** All that a node has to know of a network. */
export interface EdgePlace {
  /** HOST:PORT. */
  readonly address: string;
  /** In PEM. */
  readonly ca: string;
}

export interface TestEdge extends EdgePlace {
  stop(): Promise<void>;
}

let caFile: Promise<string> | undefined;

/** The CA of all networks of one run, since making its key takes a second. @returns its file. */
export function testCaFile(): Promise<string> {
  caFile ??= (async () => {
    const { directory } = await testServers();
    await caSource({ directory })();
    return join(directory, 'ca.pem');
  })();
  return caFile;
}

/** An edge in this process, in front of a coordinator and of the Temporal server of all tests. */
export async function startTestEdge(to: {
  readonly databaseUrl: string;
  readonly coordinatorUrl: string;
  readonly name: string;
}): Promise<TestEdge> {
  const { directory, temporalAddress } = await testServers();
  const edge = await startEdge(
    {
      databaseUrl: to.databaseUrl,
      temporalAddress,
      namespace: 'default',
      coordinatorUrl: to.coordinatorUrl,
      edgeToken: EDGE_TOKEN,
      host: '127.0.0.1',
      port: 0,
      names: ['127.0.0.1'],
      keysDirectory: join(directory, `keys-edge-${to.name}`),
      blobDirectory: join(directory, `blobs-${to.name}`),
    },
    pino({ level: 'silent' }),
  );
  const { trusted } = await caSource({ directory })();
  return { address: edge.address, ca: trusted, stop: () => edge.stop() };
}

/** The environment of a node's process: what its operator has to set, with keys made for it. */
export async function nodeEnvironment(
  { address, ca }: EdgePlace,
  operatorId: string,
  keysDirectory: string,
): Promise<Record<string, string>> {
  const { nodeId } = await loadOrCreateNodeKeys(keysDirectory);
  const [caPath, bindingPath] = ['edge-ca.pem', 'binding.json'].map((name) =>
    join(keysDirectory, name),
  ) as [string, string];
  await writeFile(caPath, ca);
  await writeFile(bindingPath, JSON.stringify(await signedBinding(nodeId, operatorId)));
  return {
    PLX_EDGE_ADDRESS: address,
    PLX_EDGE_CA: caPath,
    PLX_NODE_KEYS: keysDirectory,
    PLX_OPERATOR_BINDING: bindingPath,
  };
}
