import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, GenerateRequest, Generation } from '../nodes/backends/backend.ts';

export const INSTANT_MODEL = {
  id: 'instant',
  digest: `sha256:${'1'.repeat(64)}`,
  quantisation: 'none',
  contextTokens: 1_024,
} as const;

export interface InstantOptions {
  /** Between two pieces of the answer. */
  readonly pieceMs?: number;
  readonly slots?: number;
  /** What it says; by default it repeats the last message word by word. */
  readonly answer?: (request: GenerateRequest) => readonly string[];
}

/** A backend without a model, for tests of everything around one. */
export function instantBackend({
  pieceMs = 0,
  slots = 4,
  answer = echo,
}: InstantOptions = {}): Backend {
  return {
    engine: 'instant/1',
    model: INSTANT_MODEL,
    slots,
    features: ['completion', 'logprobs'],
    async generate(request, onText, signal): Promise<Generation> {
      const pieces: string[] = [];
      for (const piece of answer(request).slice(0, request.maxTokens)) {
        // Cancelled, it doesn't finish the piece.
        if (pieceMs > 0) await sleep(pieceMs, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) break;
        pieces.push(piece);
        onText(piece);
      }
      return {
        text: pieces.join(''),
        tokenIds: pieces.map((_piece, index) => index),
        promptTokens: Math.max(1, request.messages.length),
        completionTokens: pieces.length,
        finishReason: signal.aborted
          ? 'cancelled'
          : pieces.length === request.maxTokens
            ? 'length'
            : 'stop',
        ...(request.logprobs === undefined ? {} : { logprobs: pieces.map(told(request.logprobs)) }),
      };
    },
    health: async () => {},
    close: async () => {},
  };
}

function echo({ messages, prompt }: GenerateRequest): readonly string[] {
  return (prompt ?? messages.at(-1)?.content ?? '').split(/(?<= )/);
}

/** What it says of a piece: it was sure of the first half. */
function told(top: number) {
  const logprob = -0.5;
  return (token: string) => ({
    token,
    logprob,
    top: [token, `${token}?`].slice(0, top).map((other) => ({ token: other, logprob })),
  });
}
