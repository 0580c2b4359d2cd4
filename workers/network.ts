import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { readConfig } from './config.ts';
import { resetData, startNetwork, type EmbeddedNode, type Network } from './embedded/network.ts';
import { terminal } from '../cli/terminal.ts';
import { showRequest, snippets } from './embedded/show.ts';

const port = z.coerce.number().int().min(1).max(65_535);

/** Environment of `npm start`; the bootstrap sets the two paths. */
const networkEnv = z.object({
  TEMPORAL_CLI_PATH: z.string().default(''),
  MODEL_PATH: z.string().min(1),
  PLX_DATA_DIR: z.string().min(1).default('.data'),
  PLX_GATEWAY_PORT: port.default(8420),
  PLX_COORDINATOR_PORT: port.default(8421),
  PLX_POSTGRES_PORT: port.default(8422),
  PLX_TEMPORAL_PORT: port.default(8423),
  PLX_TEMPORAL_UI_PORT: port.default(8424),
});

/** Three machines of differing tiers. */
const NODES: readonly EmbeddedNode[] = [
  { name: 'node-1', operator: 'operator-a', tier: 1 },
  { name: 'node-2', operator: 'operator-b', tier: 2 },
  { name: 'node-3', operator: 'operator-c', tier: 3 },
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
  if (values.reset) {
    await resetData(config.PLX_DATA_DIR, (message) => terminal.write(`${message}\n`));
    terminal.write(`Removed ${config.PLX_DATA_DIR}.\n`);
  }
  // From here on Ctrl-C is a request to stop cleanly, also while things are starting.
  const interrupted = new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  let running: Network | undefined;
  const network = await start(
    config,
    restartOnExit(() => running),
  );
  running = network;
  try {
    const shown = showRequest(network, values.prompt, Number(values['max-tokens']));
    const completed = await Promise.race([shown, interrupted.then(() => null)]);
    if (values.once || completed === null) return completed ? 0 : 1;
    terminal.write(`\n${terminal.style('bold', 'Try it')}${snippets(network)}\n`);
    terminal.write(
      `Gateway      ${network.gatewayUrl}/v1\nTemporal UI  ${network.temporalUiUrl}\n`,
    );
    terminal.write(
      `Logs         ${join(config.PLX_DATA_DIR, 'logs')}\n\nCtrl-C stops the network.\n`,
    );
    await interrupted;
    return 0;
  } finally {
    running = undefined;
    terminal.write('\nStopping …');
    await network.stop();
    terminal.write(' stopped.\n');
  }
}

function start(
  config: z.infer<typeof networkEnv>,
  onExit: (role: string, reason: string) => void,
): Promise<Network> {
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1_000).toFixed(1)} s`.padStart(7);
  return startNetwork({
    dataDir: config.PLX_DATA_DIR,
    ports: {
      gateway: config.PLX_GATEWAY_PORT,
      coordinator: config.PLX_COORDINATOR_PORT,
      postgres: config.PLX_POSTGRES_PORT,
      temporal: config.PLX_TEMPORAL_PORT,
      temporalUi: config.PLX_TEMPORAL_UI_PORT,
    },
    temporalCliPath: config.TEMPORAL_CLI_PATH,
    modelPath: config.MODEL_PATH,
    nodes: NODES,
    onProgress: (part, state) => {
      if (state === 'up') terminal.write(`${terminal.style('green', '✓')} ${seconds()}  ${part}\n`);
    },
    onExit,
  });
}

/** A role that ended by itself is started again: its work is durable and waits for it. */
function restartOnExit(running: () => Network | undefined) {
  return (role: string, reason: string): void => {
    const say = (text: string) => terminal.write(`\n${terminal.style('red', text)}\n`);
    say(`${role} ended by itself (${reason}): starting it again`);
    running()
      ?.restart(role)
      .catch((error: unknown) => say(String(error)));
  };
}

try {
  process.exitCode = await main();
} catch (error) {
  terminal.write(
    `\n${terminal.style('red', error instanceof Error ? error.message : String(error))}\n`,
  );
  process.exitCode = 1;
}
