import { BackendFailedError } from './backend.ts';
import type { Backend } from './backend.ts';
import { OpenAiBackend } from './openai-backend.ts';
import type { DeclaredModel } from './openai-backend.ts';
import { OpenAiHttp } from './openai-http.ts';
import { describeServer } from './openai-server.ts';

/** What `createOpenAiBackend` needs. */
export interface OpenAiBackendOptions {
  /** The base URL as OpenAI clients take it, such as `http://127.0.0.1:8000/v1`. */
  readonly url: string;
  /** Visible ASCII. Default: none is sent. */
  readonly apiKey?: string | undefined;
  readonly model: DeclaredModel;
  /** Concurrent generations, at least 1; no more than the server computes at once. */
  readonly slots: number;
  /** How long an answer may stay without a byte. Default 120,000. */
  readonly stallMs?: number | undefined;
}

/** Long enough for a CPU to read a long prompt, which happens without a byte. */
const DEFAULT_STALL_MS = 120_000;

/**
 * Uses one model of a running OpenAI-compatible server. Throws `BackendFailedError`: no such
 * server, key refused, model not served, context unknown. It can be tried again.
 */
export async function createOpenAiBackend(options: OpenAiBackendOptions): Promise<Backend> {
  const { apiKey, model, slots, stallMs = DEFAULT_STALL_MS } = options;
  if (!Number.isInteger(slots) || slots < 1)
    throw new BackendFailedError(`The backend option slots is ${slots}; it must be at least 1.`);
  const http = new OpenAiHttp({ url: options.url.replace(/\/+$/, ''), apiKey, stallMs });
  const served = await describeServer(http, model.serverId);
  const backend = new OpenAiBackend(http, model, served, slots);
  await backend.probe();
  return backend;
}
