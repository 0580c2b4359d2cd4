import { dirname, join } from 'node:path';
import { buildStep } from './build.mjs';
import { databaseClientStep } from './database-client.mjs';
import { dependenciesStep } from './dependencies.mjs';
import { withLock } from './lock.mjs';
import { modelStep } from './model.mjs';
import { pythonStep, PYTHONS } from './python.mjs';
import { createReport } from './report.mjs';
import { isStorageError, storageError } from './storage.mjs';
import { temporalStep } from './temporal-cli.mjs';

/**
 * @typedef {object} Context
 * @property {string} root the project's directory.
 * @property {NodeJS.ProcessEnv} env
 * @property {ReturnType<typeof createReport>} report
 *
 * @typedef {object} Step something that may have to be made once; it can be asked and run again.
 * @property {string} label
 * @property {import('./storage.mjs').Needs} needs
 * @property {() => Promise<boolean>} isDone
 * @property {(helpers: Helpers) => Promise<void>} run
 *
 * @typedef {object} Helpers
 * @property {(pid: number, command: string) => Promise<void>} recordChild
 * @property {(text: string) => void} progress
 *
 * @typedef {object} Tools absolute paths, or the address of a server that already runs.
 * @property {string} [temporalCliPath]
 * @property {string} [temporalAddress]
 * @property {string} [modelPath]
 * @property {string} [buildDirectory]
 * @property {string} [nodePython]
 * @property {string} [sdkPython]
 */

/**
 * Makes a clone ready to run, doing only what is missing: npm packages and the database client, and
 * with `tools` the Temporal CLI and the model too, with `build` the compiled project, with
 * `pythons` what tests in Python need. Concurrent callers take turns.
 *
 * @param {{ tools: boolean, build?: boolean, pythons?: boolean, root?: string,
 *   env?: NodeJS.ProcessEnv, report?: ReturnType<typeof createReport> }} options
 * @returns {Promise<Tools>} what was asked for.
 * @throws {import('./report.mjs').BootstrapError} with what was tried and how to mend it.
 */
export async function ensure({
  tools,
  build = false,
  pythons = false,
  root,
  env = process.env,
  report = createReport(),
}) {
  const context = { root: root ?? dirname(import.meta.dirname), env, report };
  await ensureStep(context, await dependenciesStep(context));
  // Only now: the client's digest depends on the Prisma version just installed.
  await ensureStep(context, await databaseClientStep(context));
  const built = build ? await buildStep(context) : undefined;
  if (built) await ensureStep(context, built);
  const made = { ...built?.found() };
  for (const name of pythons ? Object.keys(PYTHONS) : []) {
    const python = await pythonStep(context, name);
    await ensureStep(context, python);
    Object.assign(made, python.found());
  }
  if (!tools) return made;
  const temporal = await temporalStep(context);
  await ensureStep(context, temporal);
  const model = await modelStep(context);
  await ensureStep(context, model);
  return { ...temporal.found(), ...model.found(), ...made };
}

/** `tools` as variables for a child process, whose own lookups they spare. */
export function toolsEnv({ temporalCliPath, temporalAddress, modelPath, ...pythons }) {
  const variables = Object.entries(PYTHONS).map(([name, { variable }]) => [
    variable,
    pythons[name],
  ]);
  return {
    ...Object.fromEntries(variables.filter(([, python]) => python !== undefined)),
    ...(temporalCliPath === undefined ? {} : { TEMPORAL_CLI_PATH: temporalCliPath }),
    ...(temporalAddress === undefined ? {} : { TEMPORAL_ADDRESS: temporalAddress }),
    ...(modelPath === undefined ? {} : { MODEL_PATH: modelPath }),
  };
}

async function ensureStep(context, step) {
  try {
    await doOnce(context, step);
  } catch (error) {
    throw isStorageError(error) ? await storageError(error, step.needs) : error;
  }
}

async function doOnce({ root, report }, step) {
  if (await step.isDone()) return;
  const lock = join(root, '.tools', 'bootstrap.lock');
  const onWait = ({ pid }) => report.note(`Waiting for another start's setup (process ${pid}) …`);
  await withLock(lock, { onWait }, async (recordChild) => {
    // Another process may have done it while this one waited.
    if (await step.isDone()) return;
    await report.step(step.label, (progress) => step.run({ recordChild, progress }));
  });
}
