import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { writeDurably } from './files.ts';
import { assertPortFree, isPortFree } from './ports.ts';
import { readRecord } from './process-record.ts';

/** TCP ports on 127.0.0.1. */
export interface NetworkPorts {
  readonly gateway: number;
  readonly coordinator: number;
  readonly postgres: number;
  readonly temporal: number;
  readonly temporalUi: number;
  readonly edge: number;
}

interface PortUse {
  readonly key: keyof NetworkPorts;
  readonly name: string;
  readonly envVar: string;
}

/** In the order of a block: its first port is the gateway's. */
const USES: readonly PortUse[] = [
  { key: 'gateway', name: 'gateway', envVar: 'PLX_GATEWAY_PORT' },
  { key: 'coordinator', name: 'coordinator', envVar: 'PLX_COORDINATOR_PORT' },
  { key: 'postgres', name: 'PostgreSQL', envVar: 'PLX_POSTGRES_PORT' },
  { key: 'temporal', name: 'Temporal', envVar: 'PLX_TEMPORAL_PORT' },
  { key: 'temporalUi', name: 'Temporal UI', envVar: 'PLX_TEMPORAL_UI_PORT' },
  { key: 'edge', name: 'edge', envVar: 'PLX_EDGE_PORT' },
];

const DEFAULT_BLOCK = 8_420;
const BLOCK_PORTS = 10;
const BLOCKS_MAX = 50;
/** Held while the network runs: whoever listens here has the block, though its ports be free. */
const CLAIM_OFFSET = 9;

const portsFile = z.object({
  block: z
    .int()
    .min(1_024)
    .max(65_535 - CLAIM_OFFSET),
});

export interface ChosenPorts {
  readonly ports: NetworkPorts;
  /** Frees the block for others. */
  release(): Promise<void>;
}

/**
 * Chooses the ports of a network: those that are set, and for the others the block that this data
 * directory had before, else the first free one of 8420, 8430, and so on. Of two starts at once
 * only one gets a block, because it listens on the block's last port; the system frees that one
 * however the process ends.
 *
 * @param log told of each block other than the default one.
 * @throws Error if a port that is set is in use, or no block is free.
 */
export async function choosePorts(
  dataDir: string,
  set: Partial<NetworkPorts>,
  log: (message: string) => void,
  firstBlock = DEFAULT_BLOCK,
): Promise<ChosenPorts> {
  await assertSetPorts(set);
  const open = USES.filter(({ key }) => set[key] === undefined);
  if (open.length === 0) return { ports: set as NetworkPorts, release: async () => undefined };
  const path = join(dataDir, 'ports.json');
  const remembered = (await readRecord(portsFile, path))?.block;
  const others = Array.from({ length: BLOCKS_MAX }, (_, index) => firstBlock + index * BLOCK_PORTS);
  const blocks = [...new Set([remembered ?? firstBlock, ...others])];
  for (const block of blocks) {
    const claim = await claimBlock(block, set, block === blocks[0]);
    if (!claim) continue;
    if (block !== remembered) await writeDurably(path, `${JSON.stringify({ block })}\n`);
    const range = `${block} to ${block + USES.length - 1}`;
    if (block !== blocks[0]) log(`Ports ${range}, because those from ${blocks[0]} are in use`);
    else if (block !== firstBlock) log(`Ports ${range}, as before`);
    return { ports: blockPorts(block, set), release: () => close(claim) };
  }
  throw new Error(
    `No block of ports is free: ${BLOCKS_MAX} of ten each were tried, from ${firstBlock} on. ` +
      `Stop what uses them, or set ${open.map(({ envVar }) => envVar).join(', ')}.`,
  );
}

async function assertSetPorts(set: Partial<NetworkPorts>): Promise<void> {
  const seen = new Map<number, string>();
  for (const { key, name, envVar } of USES) {
    const port = set[key];
    if (port === undefined) continue;
    const other = seen.get(port);
    if (other !== undefined)
      throw new Error(`${envVar} and ${other} are both ${port}. Set one of them to another port.`);
    seen.set(port, envVar);
    await assertPortFree(port, name, envVar);
  }
}

/** @param isPatient waits a moment for ports that a killed network is about to free. */
async function claimBlock(
  block: number,
  set: Partial<NetworkPorts>,
  isPatient: boolean,
): Promise<Server | undefined> {
  const taken = Object.values(set);
  const wanted = USES.map(({ key }, index) => (set[key] === undefined ? block + index : 0));
  const ports = wanted.filter((port) => port !== 0);
  if ([...ports, block + CLAIM_OFFSET].some((port) => taken.includes(port))) return undefined;
  const claim = await listen(block + CLAIM_OFFSET);
  if (!claim) return undefined;
  for (const port of ports)
    if (!(await isPortFree(port, isPatient))) {
      await close(claim);
      return undefined;
    }
  return claim;
}

function blockPorts(block: number, set: Partial<NetworkPorts>): NetworkPorts {
  const port = (offset: number, key: keyof NetworkPorts) => set[key] ?? block + offset;
  return {
    gateway: port(0, 'gateway'),
    coordinator: port(1, 'coordinator'),
    postgres: port(2, 'postgres'),
    temporal: port(3, 'temporal'),
    temporalUi: port(4, 'temporalUi'),
    edge: port(5, 'edge'),
  };
}

async function listen(port: number): Promise<Server | undefined> {
  // Whoever connects is hung up on: it only says that the block is taken.
  const server = createServer((socket) => socket.destroy());
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return server.unref();
  } catch {
    return undefined;
  }
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
