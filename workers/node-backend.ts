import { join } from 'node:path';
import { BackendFailedError, type Backend } from '../nodes/backends/backend.ts';
import { createLlamaBackend } from '../nodes/backends/llama.ts';
import { digestModelFile } from '../nodes/backends/model-file.ts';
import { createOpenAiBackend } from '../nodes/backends/openai.ts';
import { waitForBackend } from '../nodes/health.ts';
import type { Log } from '../nodes/membership.ts';
import { measureThroughput } from '../nodes/throughput.ts';
import type { NodeConfig } from './config.ts';

export interface ReadyBackend {
  readonly backend: Backend;
  readonly tokensPerSecond: number;
}

/**
 * The backend that the operator chose, once it has answered a trial request. The embedded one loads
 * or fails for good; a server is waited for.
 */
export async function startBackend(config: NodeConfig, log: Log): Promise<ReadyBackend> {
  // An operator trusts no digest of others, so it is remembered beside the node's own keys.
  const digestFile = join(config.PLX_NODE_KEYS, 'model-digest.json');
  if (config.PLX_BACKEND === 'llama')
    return tried(
      await createLlamaBackend({
        modelPath: config.MODEL_PATH,
        modelId: config.PLX_MODEL_ID,
        slots: config.PLX_NODE_SLOTS,
        digestFile,
      }),
    );
  const { MODEL_PATH: modelPath, PLX_MODEL_DIGEST: declared } = config;
  const digest = modelPath === undefined ? declared : await digestModelFile(modelPath, digestFile);
  if (digest === undefined || (declared !== undefined && declared !== digest))
    throw new BackendFailedError(
      `PLX_MODEL_DIGEST is ${declared}, but the file at MODEL_PATH has ${digest}: they are ` +
        'different weights. Correct one of them, or leave one out.',
    );
  const options = {
    url: config.PLX_OPENAI_URL,
    apiKey: config.PLX_OPENAI_API_KEY,
    slots: config.PLX_NODE_SLOTS,
    model: {
      id: config.PLX_MODEL_ID,
      digest,
      serverId: config.PLX_OPENAI_MODEL ?? config.PLX_MODEL_ID,
      contextTokens: config.PLX_CONTEXT_TOKENS,
      equivalence: config.PLX_EQUIVALENCE,
    },
  };
  return waitForBackend(async () => tried(await createOpenAiBackend(options)), log);
}

async function tried(backend: Backend): Promise<ReadyBackend> {
  try {
    return { backend, tokensPerSecond: await measureThroughput(backend) };
  } catch (error) {
    await backend.close();
    throw error;
  }
}
