import { z } from 'zod';
import { BackendFailedError, ENGINE_LENGTH_MAX } from './backend.ts';
import type { OpenAiHttp } from './openai-http.ts';
import { ServerRefusal } from './openai-refusal.ts';

/** What a server says of itself and of the one model that is used. */
export interface ServedModel {
  /** The name that the server knows the model by. */
  readonly id: string;
  /** Bounds prompt and output together; null when the server doesn't say it. */
  readonly contextTokens: number | null;
  /** Such as `Q4_1`; `unknown` when the server doesn't say it. */
  readonly quantisation: string;
  /** Engine and version, at most `ENGINE_LENGTH_MAX` characters of printable ASCII. */
  readonly engine: string;
  /** Fields besides OpenAI's that switch off what the engine would do unasked. */
  readonly samplingOff: Readonly<Record<string, number | boolean>>;
}

/** Leaves room for what the operator declares of the hardware. */
const ENGINE_NAME_MAX = ENGINE_LENGTH_MAX - 80;
/** The engine of a server that doesn't name one. */
const ENGINE_UNKNOWN = 'openai-compatible';

const tokens = z.int().min(1).max(0xffff_ffff).optional().catch(undefined);
const text = z.string().optional().catch(undefined);
const modelSchema = z.object({
  id: z.string(),
  aliases: z.array(z.string()).optional().catch(undefined),
  owned_by: text,
  max_model_len: tokens,
  meta: z.object({ n_ctx: tokens, n_ctx_train: tokens, ftype: text }).optional().catch(undefined),
});
const modelsSchema = z.object({ data: z.array(modelSchema) });
const propsSchema = z.object({
  build_info: text,
  default_generation_settings: z.object({ n_ctx: tokens }).optional().catch(undefined),
});
const versionSchema = z.object({ version: z.string() });
type ListedModel = z.infer<typeof modelSchema>;

/**
 * Sampling from the whole distribution, as for the embedded model; engines have defaults of their
 * own that cut it. llama.cpp would also reuse the last caller's prompt, which changes the numbers.
 */
const SAMPLING_OFF = {
  'llama.cpp': { top_k: 0, min_p: 0, repeat_penalty: 1, cache_prompt: false },
  vllm: { top_k: -1, min_p: 0, repetition_penalty: 1 },
} as const;

/**
 * Asks a server for its model and its engine. Throws `BackendFailedError` when it can't be reached,
 * refuses the key, or doesn't serve `name`.
 */
export async function describeServer(http: OpenAiHttp, name: string): Promise<ServedModel> {
  const model = await findModel(http, name);
  const probe = <Schema extends z.ZodType>(path: string, schema: Schema) =>
    probeRoute(http, path, schema);
  const [props, ollama, version] = await Promise.all([
    probe('/props', propsSchema),
    probe('/api/version', versionSchema),
    probe('/version', versionSchema),
  ]);
  const { max_model_len, meta, owned_by } = model;
  const kind = props?.build_info !== undefined || owned_by === 'llamacpp' ? 'llama.cpp' : owned_by;
  return {
    id: model.id,
    contextTokens:
      max_model_len ??
      meta?.n_ctx ??
      props?.default_generation_settings?.n_ctx ??
      meta?.n_ctx_train ??
      null,
    quantisation: engineName(meta?.ftype ?? 'unknown'),
    engine: ollama
      ? engineName('ollama', ollama.version)
      : engineName(kind ?? ENGINE_UNKNOWN, props?.build_info ?? version?.version),
    samplingOff: kind === 'llama.cpp' || kind === 'vllm' ? SAMPLING_OFF[kind] : {},
  };
}

/**
 * The listed model of that name. It is also a server's sign of life: those that still load answer
 * with 503. Throws `BackendFailedError`.
 */
export async function findModel(http: OpenAiHttp, name: string): Promise<ListedModel> {
  const url = `${http.url}/models`;
  const listed = modelsSchema.safeParse(await ask(http, url));
  if (!listed.success)
    throw new BackendFailedError(
      `${url} was answered with something else than a list of models. PLX_OPENAI_URL has to be ` +
        'the base URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1.',
    );
  const { data } = listed.data;
  const model = data.find(
    ({ aliases, id }) =>
      // Ollama lists `name:latest` for what everybody calls `name`.
      id === name || id === `${name}:latest` || aliases?.includes(name),
  );
  if (model) return model;
  const served = data.slice(0, 5).map(({ id }) => printable(id));
  throw new BackendFailedError(
    `${http.url} doesn't serve the model ${name}; it lists ${served.join(', ') || 'none'}. Load ` +
      'it there, or set PLX_OPENAI_MODEL to the name that it has there.',
  );
}

/** Throws `BackendFailedError` when the server has a `/health` that reports trouble. */
export async function assertHealthRoute(http: OpenAiHttp): Promise<void> {
  try {
    await http.getJson(`${http.rootUrl}/health`);
  } catch (error) {
    // Servers without the route say 404 or 501, vLLM answers without JSON: neither means trouble.
    const inTrouble = error instanceof ServerRefusal && error.status >= 500 && error.status !== 501;
    if (inTrouble) throw error.toBackendFailed();
  }
}

async function ask(http: OpenAiHttp, url: string): Promise<unknown> {
  try {
    return await http.getJson(url);
  } catch (error) {
    throw error instanceof ServerRefusal ? error.toBackendFailed() : error;
  }
}

/** What an engine's own route says; undefined from servers that don't have it. */
async function probeRoute<Schema extends z.ZodType>(
  http: OpenAiHttp,
  path: string,
  schema: Schema,
): Promise<z.infer<Schema> | undefined> {
  try {
    const parsed = schema.safeParse(await http.getJson(`${http.rootUrl}${path}`));
    return parsed.success ? parsed.data : undefined;
  } catch {
    // Nothing depends on these routes: the list of models has shown that the server is there.
    return undefined;
  }
}

function engineName(name: string, version?: string): string {
  const full = version === undefined ? name : `${name}/${version}`;
  return printable(full).slice(0, ENGINE_NAME_MAX) || ENGINE_UNKNOWN;
}

function printable(name: string): string {
  return name.slice(0, ENGINE_LENGTH_MAX).replaceAll(/[^\x21-\x7e]+/g, '_');
}
