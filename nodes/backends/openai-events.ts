import { TextDecoder } from 'node:util';
import { BackendFailedError } from './backend.ts';

/** Of one line; an event of a whole answer at once still fits. */
const LINE_CHARACTERS_MAX = 1024 * 1024;

/**
 * The data of each server-sent event (WHATWG HTML, section 9.2), until `[DONE]` or the end of the
 * body. Comments and other fields are skipped. `onBytes` is called whenever something came.
 * Throws `BackendFailedError` beyond `bytesMax`, for an endless line and for text that isn't UTF-8.
 */
export async function* readEvents(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
  onBytes: () => void,
): AsyncGenerator<string, void, void> {
  let data: string[] = [];
  for await (const line of readLines(body, bytesMax, onBytes)) {
    if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
    if (line !== '' || data.length === 0) continue;
    const event = data.join('\n');
    if (event.trim() === '[DONE]') return;
    yield event;
    data = [];
  }
  // A body may end without the empty line; whether it is whole shows when it is parsed.
  const last = data.join('\n');
  if (last !== '' && last.trim() !== '[DONE]') yield last;
}

async function* readLines(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
  onBytes: () => void,
): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let pending = '';
  let bytes = 0;
  for await (const chunk of body) {
    onBytes();
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw new BackendFailedError(
        `The server sent more than ${bytesMax} bytes for one answer, far more than was asked ` +
          'for: it ignores `max_tokens`.',
      );
    pending += decode(decoder, chunk);
    const lines = pending.split(/\r\n|\n|\r(?!$)/);
    pending = lines.pop() ?? '';
    if (pending.length > LINE_CHARACTERS_MAX)
      throw new BackendFailedError('The server sent a line without end in its stream.');
    yield* lines;
  }
  pending += decode(decoder);
  if (pending !== '') yield* pending.split(/\r\n?/);
}

function decode(decoder: TextDecoder, chunk?: Uint8Array): string {
  try {
    return chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode();
  } catch {
    throw new BackendFailedError("The server's stream isn't UTF-8.");
  }
}
