import { createHash } from 'node:crypto';
import { getLlama, getModuleVersion, GgufFileType, LlamaLogLevel } from 'node-llama-cpp';
import type { Llama, LlamaModel } from 'node-llama-cpp';
import { BackendFailedError, ENGINE_LENGTH_MAX } from './backend.ts';

/** The compute layer: false is CPU only, `auto` the best that is installed. */
export type Gpu = false | 'auto' | 'cuda' | 'vulkan' | 'metal';

/** How to start llama.cpp. */
export interface EngineOptions {
  readonly gpu: Gpu;
  /** CPU threads that compute. */
  readonly threads: number;
  /** Gets llama.cpp's own log lines; without it they are dropped. */
  readonly onLog?: ((level: string, message: string) => void) | undefined;
}

/**
 * Bump it when this backend samples or builds prompts differently from before, so that its results
 * aren't compared with those of older nodes.
 */
const BACKEND_REVISION = 1;

/** Starts llama.cpp from its prebuilt binary. Throws `BackendFailedError`. */
export async function startLlama({ gpu, threads, onLog }: EngineOptions): Promise<Llama> {
  const logging = onLog
    ? { logLevel: LlamaLogLevel.warn, logger: onLog }
    : { logLevel: LlamaLogLevel.disabled };
  try {
    const base = { build: 'never', progressLogs: false, skipDownload: true } as const;
    return await getLlama({ ...base, ...logging, gpu, maxThreads: threads });
  } catch (cause) {
    const layer = gpu === false ? 'the CPU' : `GPU layer "${gpu}"`;
    throw new BackendFailedError(
      `llama.cpp couldn't be started for ${layer} on ${process.platform}-${process.arch}: ` +
        `${String(cause)}. Install the matching @node-llama-cpp package (optional dependencies ` +
        'of node-llama-cpp), or choose another layer.',
      { cause },
    );
  }
}

/**
 * Everything known to change the numbers (measured: instruction sets do, threads don't): versions,
 * build, platform, the GPU and its share of the layers, and the features of the loaded variant.
 */
export async function describeEngine(llama: Llama, model: LlamaModel): Promise<string> {
  const { release } = llama.llamaCppRelease;
  const version = `node-llama-cpp/${await getModuleVersion()} r${BACKEND_REVISION}`;
  const build = `llama.cpp/${release} ${llama.buildType} ${process.platform}-${process.arch}`;
  const devices =
    llama.gpu === false ? 'cpu' : `${llama.gpu}:${await gpuNames(llama)}:${model.gpuLayers}-layers`;
  const full = `${version} ${build} ${devices} ${shortFeatures(llama.systemInfo)}`;
  if (full.length <= ENGINE_LENGTH_MAX) return full;
  const digest = createHash('sha256').update(full).digest('hex').slice(0, 16);
  return `${full.slice(0, ENGINE_LENGTH_MAX - digest.length - 1)}#${digest}`;
}

/** Loads the weights. Throws `BackendFailedError` for a file that isn't a model or is too big. */
export async function loadModel(llama: Llama, modelPath: string): Promise<LlamaModel> {
  try {
    return await llama.loadModel({ modelPath });
  } catch (cause) {
    throw new BackendFailedError(
      `The model file ${modelPath} can't be loaded: ${String(cause)}. It has to be a GGUF file ` +
        'that fits into memory; download it again or choose a smaller one.',
      { cause },
    );
  }
}

/** The quantisation that the file declares, such as `Q4_1`. Throws `BackendFailedError`. */
export function quantisationOf(model: LlamaModel): string {
  const fileType = model.fileInfo.metadata.general.file_type;
  const name = fileType === undefined ? undefined : GgufFileType[fileType];
  if (name === undefined)
    throw new BackendFailedError(
      `The model file declares no known quantisation (GGUF key general.file_type is ` +
        `${String(fileType)}), without which its results can't be compared with other nodes'. ` +
        'Convert the model with a current llama.cpp.',
    );
  return name.replace(/^(ALL|MOSTLY)_/, '');
}

async function gpuNames(llama: Llama): Promise<string> {
  const names = await llama.getGpuDeviceNames();
  return [...new Set(names)].join('+').replaceAll(' ', '_');
}

/** `CPU : AVX = 1 | AVX2 = 1 |` to `CPU:AVX,AVX2`; values other than 1 are kept. */
function shortFeatures(systemInfo: string): string {
  return systemInfo
    .split('|')
    .map((part) =>
      part
        .trim()
        .replaceAll(/\s*:\s*/g, ':')
        .replace(/\s*=\s*1$/, ''),
    )
    .filter((part) => part !== '' && !part.endsWith('= 0'))
    .map((part) => part.replaceAll(/\s*=\s*/g, '='))
    .join(',');
}
