import { LineSplitter } from '../protocol/lines.ts';
import type { Api } from './api.ts';
import { CliError, EXIT } from './errors.ts';
import { safeText } from './terminal.ts';
import type { ErrorView, RequestView } from './views.ts';

/** What came back for one prompt. */
export interface Answer {
  readonly requestId: string;
  readonly text: string;
  /** What ended the answer before it was complete. */
  readonly error: ErrorView | null;
  /** From sending to the validated end. */
  readonly elapsedMs: number;
}

interface Chunk {
  readonly choices?: readonly { readonly delta?: { readonly content?: string } }[];
  readonly error?: ErrorView;
}

/** What ends a stream that has said all; an error ends it, too. */
const DONE = 'data: [DONE]';

/**
 * Sends a chat request and hands its text on as it comes, safe for a terminal.
 *
 * @param cancel cancels the request itself, by the API: the answer then ends with
 *   `execute.cancelled`. Before the request is accepted it takes effect once it is.
 * @throws CliError `cli.stream_broken` when the stream ends before it says that it is done.
 */
export async function streamAnswer(
  api: Api,
  body: object,
  onText: (text: string) => void,
  cancel: AbortSignal,
): Promise<Answer> {
  const startedAt = performance.now();
  const response = await api.stream('/v1/chat/completions', { ...body, stream: true });
  const requestId = safeText(response.headers.get('x-request-id') ?? '');
  let cancelling: Promise<void> | undefined;
  const onCancel = () => {
    cancelling = cancelRequest(api, requestId);
    // What it failed with is thrown once the stream has ended.
    cancelling.catch(() => {});
  };
  if (cancel.aborted) onCancel();
  cancel.addEventListener('abort', onCancel);
  let text = '';
  let error: ErrorView | null = null;
  try {
    for await (const chunk of chunks(response)) {
      const delta = safeText(chunk.choices?.[0]?.delta?.content ?? '');
      text += delta;
      if (delta) onText(delta);
      error ??= chunk.error ?? null;
    }
  } catch (cause) {
    throw new CliError(
      EXIT.unreachable,
      'cli.stream_broken',
      `The connection to ${api.url} broke in the middle of the answer. The request goes on:\n` +
        `prlx status ${requestId} --watch`,
      { cause },
    );
  } finally {
    cancel.removeEventListener('abort', onCancel);
  }
  await cancelling;
  return { requestId, text, error, elapsedMs: performance.now() - startedAt };
}

async function cancelRequest(api: Api, id: string): Promise<void> {
  try {
    await api.post<RequestView>(`/v1/requests/${id}/cancel`);
  } catch (error) {
    // It was faster than we: the answer is complete.
    if (error instanceof CliError && error.code === 'gateway.request_ended') return;
    throw error;
  }
}

/** The events of a stream of server-sent events. @throws Error when it ends without its end. */
async function* chunks(response: Response): AsyncGenerator<Chunk> {
  const splitter = new LineSplitter();
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? [])
    for (const line of splitter.push(decoder.decode(bytes, { stream: true }))) {
      if (line === DONE) return;
      if (!line.startsWith('data: {')) continue;
      const chunk = JSON.parse(line.slice('data: '.length)) as Chunk;
      yield chunk;
      if (chunk.error) return;
    }
  throw new Error('The stream ended without [DONE].');
}
