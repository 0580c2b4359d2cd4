import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { signedBinding } from '../../bench/signed-binding.ts';
import { loadOrCreateCa } from '../../crypto/ca.ts';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { startEdge } from '../../edge/start.ts';
import { freePort, testServers } from './servers.ts';

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
    await loadOrCreateCa(directory);
    return join(directory, 'ca.pem');
  })();
  return caFile;
}
