import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { ensure, toolsEnv } from './ensure.mjs';
import { whenNpmEnds } from './npm-watch.mjs';

const HELP = `Usage: npm start -- [options]

Runs the whole network on this machine: PostgreSQL, Temporal, coordinator, gateway and four nodes
with a small language model. The first start downloads what is missing (one to two minutes).

Options
  --prompt TEXT       the first request's prompt
  --max-tokens N      the most tokens that it may produce
  --once              stop after that request
  --reset             delete the embedded databases and keys first
  --help              show this text

Environment
  PLX_GATEWAY_PORT       8420   the OpenAI-compatible API
  PLX_COORDINATOR_PORT   8421
  PLX_POSTGRES_PORT      8422
  PLX_TEMPORAL_PORT      8423
  PLX_TEMPORAL_UI_PORT   8424   Temporal's web interface
  PLX_EDGE_PORT          8425   where nodes connect
                         If these are in use, 8430 to 8435, and so on; kept for later starts.
  PLX_DATA_DIR           .data  databases, keys and logs; one network at a time
  TEMPORAL_CLI_PATH      a Temporal CLI (1.9.0 or newer, below 2) instead of a downloaded one
  MODEL_PATH             a GGUF model instead of the downloaded one
  DATABASE_URL           a PostgreSQL server (15 or newer) instead of its own
  TEMPORAL_ADDRESS       a running Temporal server (HOST:PORT) instead of its own
  PLX_TEMPORAL_DOWNLOAD_URL  a mirror of https://temporal.download
  HF_ENDPOINT                a mirror of https://huggingface.co
  HTTPS_PROXY, NO_PROXY      a proxy for downloads, and hosts that need none
`;

const OPTIONS = {
  once: { type: 'boolean' },
  prompt: { type: 'string' },
  'max-tokens': { type: 'string' },
  reset: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
};

/** npm passes a terminal's Ctrl-C on as well, so that one keypress can arrive twice. */
const SAME_KEYPRESS_MS = 500;
/** A network that was told to end at once has this long to kill its parts. */
const END_WITHIN_MS = 3_000;
const RESUMES = '`npm start` stops what it left running, and goes on with its requests.';

/**
 * `npm start`.
 *
 * @param {string[]} args
 * @returns {Promise<number>} the network's exit code; 2 for arguments that make no sense.
 */
export async function main(args) {
  const problem = argumentProblem(args);
  if (problem !== undefined) {
    console.error(`${problem}\nSee \`npm start -- --help\`.`);
    return 2;
  }
  if (args.includes('--help') || args.includes('-h')) {
    console.log(HELP);
    return 0;
  }
  const npmEnded = whenNpmEnds(process.env);
  const tools = await ensure({ tools: true, build: true });
  return runNetwork(tools.buildDirectory, args, { ...process.env, ...toolsEnv(tools) }, npmEnded);
}

function argumentProblem(args) {
  try {
    const { values } = parseArgs({ args, options: OPTIONS });
    const tokens = values['max-tokens'];
    if (tokens !== undefined && !/^[1-9]\d{0,5}$/.test(tokens))
      return `--max-tokens must be a whole number from 1 to 999999, not ${tokens}.`;
    return undefined;
  } catch (error) {
    return error.message;
  }
}

/**
 * The network runs in a process group of its own, so that a terminal's Ctrl-C reaches it once, from
 * here, and its servers stop in their order. A second Ctrl-C makes it kill them; over the channel,
 * follow-parent tells it when this process dies. When npm is killed, nobody is left who could be
 * told to stop: then the network stops.
 */
function runNetwork(buildDirectory, args, env, npmEnded) {
  const root = dirname(import.meta.dirname);
  const workers = join(buildDirectory, 'workers');
  const preload = pathToFileURL(join(workers, 'embedded', 'follow-parent.mjs')).href;
  const nodeArgs = ['--import', preload, join(workers, 'network.js')];
  const child = spawn(process.execPath, [...nodeArgs, ...args], {
    cwd: root,
    env: { ...env, PLX_PARENT_PID: String(process.pid) },
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    detached: true,
  });
  let firstAt;
  const forward = (signal) => {
    const now = Date.now();
    if (firstAt === undefined) {
      firstAt = now;
      child.kill(signal);
    } else if (now - firstAt > SAME_KEYPRESS_MS) {
      child.kill('SIGINT');
      setTimeout(() => child.kill('SIGKILL'), END_WITHIN_MS).unref();
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => forward(signal));
  // A closed terminal means "stop", which the network knows as SIGTERM.
  process.on('SIGHUP', () => forward('SIGTERM'));
  npmEnded.addEventListener('abort', () => forward('SIGTERM'));
  if (npmEnded.aborted) forward('SIGTERM');
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (signal !== null) console.error(`\nThe network was ended by ${signal}. ${RESUMES}`);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}
