import type { LlamaContext, LlamaModel } from 'node-llama-cpp';
import { BackendFailedError } from './backend.ts';
import type { Backend } from './backend.ts';
import { LlamaBackend } from './llama-backend.ts';
import * as engine from './llama-engine.ts';
import { createPromptEncoder, createTextEncoder } from './llama-prompt.ts';
import { digestModelFile } from './model-file.ts';

/** What `createLlamaBackend` needs. */
export interface LlamaBackendOptions {
  /** A GGUF file with a chat template. */
  readonly modelPath: string;
  /** The name that requests ask for. */
  readonly modelId: string;
  /** Concurrent generations, at least 1. */
  readonly slots: number;
  /**
   * Bounds prompt and output of one generation. Default: what the model was trained on, at most
   * 2,048. Memory grows with slots × context.
   */
  readonly contextTokens?: number | undefined;
  /** `sha256:` and 64 lower-case hex digits; another file is refused. */
  readonly expectedDigest?: string | undefined;
  /** Where the model's digest is remembered, for a faster next start. Default: nowhere. */
  readonly digestFile?: string | undefined;
  /** Default false: CPU only. */
  readonly gpu?: engine.Gpu | undefined;
  /** CPU threads that compute. Default 1: on a machine that does other work, more spin idly. */
  readonly threads?: number | undefined;
  /**
   * Gets llama.cpp's own warnings and errors. Default: dropped. llama.cpp has one log for the
   * process: a later backend may take it over or send it to the standard error output.
   */
  readonly onLog?: engine.EngineOptions['onLog'];
}

/** Keeps a slot of a small model below 100 MB. */
const DEFAULT_CONTEXT_TOKENS_MAX = 2048;
/**
 * Tokens evaluated at a time. A batch can't be interrupted and holds up the other slots. On a CPU
 * it also decides about comparability: llama.cpp computes attention for 64 tokens or more by
 * another kernel, with slightly other numbers (measured on three instruction sets; 1 to 63 tokens
 * agree to the last bit), and how a prompt is divided depends on what other slots do. So it has to
 * stay below 64, which costs a tenth of the speed on prompts. GPUs need large batches to be fast.
 */
const BATCH_TOKENS = { cpu: 32, gpu: 512 };

/**
 * Loads a model into llama.cpp within this process. Throws `BackendFailedError`: file missing, of
 * another digest or not a chat model; no binary for this platform; not enough memory.
 */
export async function createLlamaBackend(options: LlamaBackendOptions): Promise<Backend> {
  assertPositive('slots', options.slots);
  assertPositive('threads', options.threads ?? 1);
  const digest = await digestModelFile(options.modelPath, options.digestFile);
  assertDigest(options, digest);
  const { gpu = false, onLog, threads = 1 } = options;
  const llama = await engine.startLlama({ gpu, threads, onLog });
  try {
    const model = await engine.loadModel(llama, options.modelPath);
    const contextTokens =
      options.contextTokens ?? Math.min(model.trainContextSize, DEFAULT_CONTEXT_TOKENS_MAX);
    assertContextTokens(contextTokens, model.trainContextSize);
    const chunkTokens = llama.gpu === false ? BATCH_TOKENS.cpu : BATCH_TOKENS.gpu;
    return new LlamaBackend({
      llama,
      model,
      context: await createContext(model, { ...options, contextTokens, threads, chunkTokens }),
      encode: createPromptEncoder(model),
      encodeText: createTextEncoder(model),
      engine: await engine.describeEngine(llama, model),
      chunkTokens,
      description: {
        id: options.modelId,
        digest,
        quantisation: engine.quantisationOf(model),
        contextTokens,
      },
    });
  } catch (error) {
    await llama.dispose();
    throw error;
  }
}

async function createContext(
  model: LlamaModel,
  size: { slots: number; contextTokens: number; chunkTokens: number; threads: number },
): Promise<LlamaContext> {
  const { chunkTokens, contextTokens, slots, threads } = size;
  try {
    const batchSize = Math.max(chunkTokens, slots);
    const sequences = { contextSize: contextTokens, sequences: slots };
    return await model.createContext({ ...sequences, batchSize, threads });
  } catch (cause) {
    throw new BackendFailedError(
      `llama.cpp can't hold ${slots} slots of ${contextTokens} tokens: ${String(cause)}. Lower ` +
        'the number of slots or the context.',
      { cause },
    );
  }
}

function assertPositive(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new BackendFailedError(`The backend option ${name} is ${value}; it must be at least 1.`);
}

function assertDigest({ expectedDigest, modelPath }: LlamaBackendOptions, digest: string): void {
  if (expectedDigest !== undefined && digest !== expectedDigest)
    throw new BackendFailedError(
      `The model file ${modelPath} has digest ${digest}, expected ${expectedDigest}: it is ` +
        'damaged or another model. Download it again, or correct the expected digest.',
    );
}

function assertContextTokens(contextTokens: number, trainedTokens: number): void {
  assertPositive('contextTokens', contextTokens);
  if (contextTokens > trainedTokens)
    throw new BackendFailedError(
      `The backend option contextTokens is ${contextTokens}, but the model was trained on ` +
        `${trainedTokens}. Set it to that or less.`,
    );
}
