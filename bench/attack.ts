import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { ATTACKS } from './attacks/all.ts';
import { joinAsStrangers, runningNetwork } from './attacks/network.ts';
import { renderTrials, succeeded, type Trial } from './attacks/report.ts';
import { CHAIN_ID } from './signed-binding.ts';
import { runWithOptions } from './run-with-options.ts';

const HELP = `Usage: npm run attack -- [options]

Joins the network that \`npm start\` runs on this machine, as a node of a stranger with keys and an
operator of its own, tries everything that such a node mustn't get, and prints what it was told.
About two minutes. Exits with 1 if anything succeeded.

Options
  --only TEXT     only attacks whose name or group has this in it
  --chain-id N    of the chain that operators sign for (${CHAIN_ID})
  --help          show this text

Environment
  PLX_DATA_DIR    .data  the data directory of the network
`;

interface Options {
  readonly only: string;
  readonly chainId: number;
}

function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      'chain-id': { type: 'string', default: String(CHAIN_ID) },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const chainId = z.coerce.number().int().min(1).safeParse(values['chain-id']);
  if (!chainId.success) throw new Error('--chain-id must be a whole number above 0');
  return { only: values.only, chainId: chainId.data };
}

async function attack({ only, chainId }: Options): Promise<number> {
  const say = (text: string) => void process.stdout.write(`${text}\n`);
  const dataDir = resolve(process.env['PLX_DATA_DIR'] ?? '.data');
  const network = await runningNetwork(dataDir);
  if (!network) {
    say(`No network runs on ${dataDir}. Start one in another terminal: npm start`);
    return 2;
  }
  const operatorKey = `0x${randomBytes(32).toString('hex')}` as const;
  const scene = await joinAsStrangers(network, { operatorKey, chainId });
  const chosen = ATTACKS.filter(({ name, group }) => `${group} ${name}`.includes(only));
  const trials: Trial[] = [];
  try {
    for (const attack of chosen) {
      process.stderr.write(`${attack.group}: ${attack.name}\n`);
      trials.push({ attack, told: await attack.run(scene) });
    }
  } finally {
    await scene.leave();
  }
  say(renderTrials(trials));
  return trials.some(succeeded) || trials.length === 0 ? 1 : 0;
}

process.exitCode = await runWithOptions({ script: 'attack', help: HELP, readOptions, run: attack });
// Connections that the edge holds open are no reason to stay.
process.exit();
