import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { readConfig } from './config.ts';
import { terminal } from '../cli/terminal.ts';
import { watchDisk } from './embedded/disk.ts';
import { startNetwork, type EmbeddedNode, type Network } from './embedded/network.ts';
import { exitAtOnce } from './embedded/os-process.ts';
import type { NetworkPorts } from './embedded/port-block.ts';
import { showRequest, snippets } from './embedded/show.ts';

const port = z.coerce.number().int().min(1).max(65_535).optional();

/** Environment of `npm start`; the bootstrap sets the two paths. */
const networkEnv = z.object({
  TEMPORAL_CLI_PATH: z.string().default(''),
  MODEL_PATH: z.string().min(1),
  PLX_DATA_DIR: z.string().min(1).default('.data'),
  PLX_GATEWAY_PORT: port,
  PLX_COORDINATOR_PORT: port,
  PLX_POSTGRES_PORT: port,
  PLX_TEMPORAL_PORT: port,
  PLX_TEMPORAL_UI_PORT: port,
  PLX_EDGE_PORT: port,
});

/**
 * Three operators, since a vote takes three independent ones, and four machines: the two of
 * operator-a are equally good for the smallest requests, but count once in a vote.
 */
const NODES: readonly EmbeddedNode[] = [
  { name: 'node-1', operator: 'operator-a', tier: 1 },
  { name: 'node-2', operator: 'operator-b', tier: 2 },
  { name: 'node-3', operator: 'operator-c', tier: 3 },
  { name: 'node-4', operator: 'operator-a', tier: 1 },
];

const DEFAULT_PROMPT = 'Why is the sky blue?';
const DEFAULT_MAX_TOKENS = 128;

/** `npm start`: the whole network on this machine, and one request through it to look at. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      once: { type: 'boolean', default: false },
      prompt: { type: 'string', default: DEFAULT_PROMPT },
      'max-tokens': { type: 'string', default: String(DEFAULT_MAX_TOKENS) },
      reset: { type: 'boolean', default: false },
    },
  });
  const config = readConfig('network', networkEnv);
  const stopRequest = requestedStop();
  const network = await start(config, values.reset, stopRequest.signal);
  const unwatch = watchDisk(resolve(config.PLX_DATA_DIR), warn);
  try {
    const interrupted = stopRequest.came.then(() => null);
    const failed = network.failed.then((error) => Promise.reject(error));
    const shown = showRequest(network, values.prompt, Number(values['max-tokens']));
    const completed = await Promise.race([shown, interrupted, failed]);
    if (values.once || completed === null) return completed ? 0 : 1;
    terminal.write(`\n${terminal.style('bold', 'Try it')}${snippets(network)}\n`);
    terminal.write(
      `Gateway      ${network.gatewayUrl}/v1\nTemporal UI  ${network.temporalUiUrl}\n` +
        `Edge         ${network.edgeAddress}, for nodes; its CA: ${network.edgeCa}\n`,
    );
    terminal.write(
      `Logs         ${join(config.PLX_DATA_DIR, 'logs')}\n\nCtrl-C stops the network.\n`,
    );
    await Promise.race([interrupted, failed]);
    return 0;
  } finally {
    unwatch();
    terminal.write('\nStopping …');
    await network.stop();
    terminal.write(' stopped.\n');
  }
}

/**
 * Ctrl-C is a request to stop cleanly, also while things are starting; a second one kills all. A
 * terminal that is gone is such a request too.
 */
function requestedStop(): { readonly signal: AbortSignal; readonly came: Promise<void> } {
  const stop = new AbortController();
  const came = new Promise<void>((resolve) => {
    stop.signal.addEventListener('abort', () => resolve());
  });
  const request = () => stop.abort(new Error('Stopped before the network was up.'));
  process.on('SIGTERM', request);
  process.on('SIGINT', () => {
    if (stop.signal.aborted) exitAtOnce(130);
    request();
  });
  for (const stream of [process.stdout, process.stderr]) stream.on('error', request);
  return { signal: stop.signal, came };
}

function start(
  config: z.infer<typeof networkEnv>,
  reset: boolean,
  signal: AbortSignal,
): Promise<Network> {
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1_000).toFixed(1)} s`.padStart(7);
  return startNetwork({
    dataDir: config.PLX_DATA_DIR,
    ports: setPorts(config),
    temporalCliPath: config.TEMPORAL_CLI_PATH,
    modelPath: config.MODEL_PATH,
    nodes: NODES,
    reset,
    signal,
    log: (message) => terminal.write(`${message}\n`),
    onProgress: (part, state) => {
      if (state === 'up') terminal.write(`${terminal.style('green', '✓')} ${seconds()}  ${part}\n`);
    },
    // Its work is durable and waits for it.
    onExit: (part, reason) =>
      warn(`${part} ended by itself (${reason.split('\n', 1)[0]}): starting it again`),
  });
}

/** The ports that the environment sets; the others are chosen. */
function setPorts(config: z.infer<typeof networkEnv>): Partial<NetworkPorts> {
  const ports = {
    gateway: config.PLX_GATEWAY_PORT,
    coordinator: config.PLX_COORDINATOR_PORT,
    postgres: config.PLX_POSTGRES_PORT,
    temporal: config.PLX_TEMPORAL_PORT,
    temporalUi: config.PLX_TEMPORAL_UI_PORT,
    edge: config.PLX_EDGE_PORT,
  };
  return Object.fromEntries(Object.entries(ports).filter(([, port]) => port !== undefined));
}

function warn(text: string): void {
  terminal.write(`\n${terminal.style('red', text)}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  warn(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
