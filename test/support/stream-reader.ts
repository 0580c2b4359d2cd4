import assert from 'node:assert/strict';

/** A chunk of a stream, as far as tests look at it. */
export interface StreamChunk {
  readonly id: string;
  readonly object: string;
  readonly created: number;
  readonly sequence_number: number;
  readonly attempt?: number;
  readonly choices: readonly {
    readonly index: number;
    readonly delta: { readonly role?: string; readonly content?: string };
    readonly finish_reason: string | null;
  }[];
  readonly usage?: { readonly total_tokens: number };
  readonly parallelix?: {
    readonly request_id: string;
    readonly state: string;
    readonly charged_wei: string | null;
    readonly attempts: number;
    readonly node: string | null;
    readonly proof_of_execution: { readonly poe: string; readonly node: string } | null;
    readonly verification: { readonly outcome: string | null };
    readonly error?: { readonly code: string };
  };
}

/** All that came of a stream. */
export interface ReadStream {
  readonly chunks: readonly StreamChunk[];
  /** Of the first answer. */
  readonly text: string;
  readonly pings: number;
  readonly isDone: boolean;
  readonly error: { readonly code: string; readonly message: string; request_id: string } | null;
}

/** What of a stream came so far; the last event may not be whole. */
function readEvents(sse: string): ReadStream {
  const events = sse.split('\n\n').slice(0, -1);
  const chunks: StreamChunk[] = [];
  let [pings, isDone, error] = [0, false, null as ReadStream['error']];
  for (const event of events) {
    assert.ok(!isDone && error === null, `nothing follows the end: ${event}`);
    const lines = event.split('\n');
    pings += lines.filter((line) => line === ': ping').length;
    const fields = Object.fromEntries(
      lines.map((line) => line.split(/: (.*)/s, 2) as [string, string]),
    );
    if (fields['event'] === 'error') {
      assert.equal(fields['id'], undefined);
      ({ error } = JSON.parse(fields['data'] ?? '') as ReadStream);
    } else if (fields['data'] === '[DONE]') isDone = true;
    else if (fields['data'] !== undefined) {
      const chunk = JSON.parse(fields['data']) as StreamChunk;
      assert.equal(fields['id'], String(chunk.sequence_number));
      chunks.push(chunk);
    }
  }
  return { chunks, text: textOf(chunks), pings, isDone, error };
}

export function textOf(chunks: readonly StreamChunk[], index = 0): string {
  return chunks
    .flatMap(({ choices }) => choices)
    .filter((choice) => choice.index === index)
    .map(({ delta }) => delta.content ?? '')
    .join('');
}

interface StreamCall extends RequestInit {
  readonly headers?: Readonly<Record<string, string>>;
}

/** Reads on in the background; `stop` hangs up. */
export function openStream(url: string, key: string, init: StreamCall = {}) {
  const gone = new AbortController();
  const headers = { authorization: `Bearer ${key}`, ...init.headers };
  let sse = '';
  const response = fetch(url, { ...init, headers, signal: gone.signal });
  const whole = (async () => {
    const { body, status } = await response;
    const decoder = new TextDecoder();
    for await (const bytes of body ?? []) sse += decoder.decode(bytes, { stream: true });
    assert.equal(status, 200, sse);
    return readEvents(sse);
  })();
  whole.catch(() => {});
  return {
    whole,
    soFar: () => readEvents(sse),
    id: async () => (await response).headers.get('x-request-id') ?? assert.fail(),
    stop: () => gone.abort(),
  };
}
