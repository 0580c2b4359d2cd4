import { LineSplitter } from '../../protocol/lines.ts';
import { INSTANT_MODEL } from '../instant-backend.ts';
import type { StreamingCluster } from './cluster.ts';

/** The ways to the backend that are compared, in this order. */
export const TARGETS = ['backend', 'relay', 'network'] as const;
export type Target = (typeof TARGETS)[number];

export interface StreamRequest {
  readonly prompt: string;
  readonly maxTokens: number;
  /** Fields besides OpenAI's; the backend itself ignores them. */
  readonly changed?: object;
}

/** What a caller sees of one stream, in milliseconds since it called. */
export interface Streamed {
  readonly firstTokenMs: number;
  readonly totalMs: number;
  readonly characters: number;
}

interface Chunk {
  readonly error?: { readonly code?: string };
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string };
    readonly finish_reason?: string | null;
  }[];
}

/**
 * Reads one streaming chat completion to its end.
 *
 * @param onText called with each text as it comes.
 * @throws Error for anything else than a whole answer: a benchmark of failures says nothing.
 */
export async function streamOnce(
  cluster: StreamingCluster,
  target: Target,
  { prompt, maxTokens, changed = {} }: StreamRequest,
  onText: (text: string) => void = () => undefined,
): Promise<Streamed> {
  const calledAt = performance.now();
  const response = await fetch(`${urlOf(cluster, target)}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${cluster.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: prompt }],
      max_tokens: maxTokens,
      stream: true,
      ...changed,
    }),
  });
  if (!response.ok || !response.body)
    throw new Error(`The ${target} answered ${response.status}: ${await response.text()}`);
  let firstTokenMs: number | undefined;
  let characters = 0;
  let finishReason: string | undefined;
  for await (const event of eventsOf(response.body)) {
    if (event === '[DONE]') {
      if (firstTokenMs === undefined || finishReason === undefined) break;
      return { firstTokenMs, totalMs: performance.now() - calledAt, characters };
    }
    const chunk = JSON.parse(event) as Chunk;
    if (chunk.error) throw new Error(`The ${target} ended a stream with ${chunk.error.code}`);
    const [choice] = chunk.choices ?? [];
    const text = choice?.delta?.content ?? '';
    characters += text.length;
    finishReason ??= choice?.finish_reason ?? undefined;
    if (text === '') continue;
    firstTokenMs ??= performance.now() - calledAt;
    onText(text);
  }
  throw new Error(`The ${target} left a stream without its end`);
}

function urlOf({ backendUrl, relayUrl, gatewayUrl }: StreamingCluster, target: Target): string {
  return { backend: backendUrl, relay: relayUrl, network: gatewayUrl }[target];
}

/** The data of server-sent events that have one line of it each. */
async function* eventsOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const lines = new LineSplitter();
  const decoder = new TextDecoder();
  for await (const bytes of body)
    for (const line of lines.push(decoder.decode(bytes, { stream: true })))
      if (line.startsWith('data: ')) yield line.slice('data: '.length);
}
