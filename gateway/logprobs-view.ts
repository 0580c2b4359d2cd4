import type { TokenLogprob } from '../protocol/result.ts';

/** Stands for bytes that aren't a whole character. */
const REPLACEMENT = '\uFFFD';

/** As chat completions have it; null when none were asked for. */
export function chatLogprobs(logprobs: readonly TokenLogprob[] | undefined) {
  if (logprobs === undefined) return null;
  const content = logprobs.map(({ token, bytes, logprob, top }) => ({
    token,
    logprob,
    bytes: bytes ?? bytesOf(token),
    top_logprobs: top.map((other) => ({ ...other, bytes: bytesOf(other.token) })),
  }));
  return { content, refusal: null };
}

/**
 * As completions have it; null when none were asked for. `text_offset` counts from the beginning of
 * the answer.
 */
export function textLogprobs(logprobs: readonly TokenLogprob[] | undefined) {
  if (logprobs === undefined) return null;
  let offset = 0;
  const offsets = logprobs.map(({ token }) => {
    offset += token.length;
    return offset - token.length;
  });
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) =>
      Object.fromEntries(top.map(({ token, logprob }) => [token, logprob])),
    ),
    text_offset: offsets,
  };
}

/** UTF-8; null for a token that is a part of a character, whose bytes the node didn't tell. */
function bytesOf(token: string): number[] | null {
  return token.includes(REPLACEMENT) ? null : [...Buffer.from(token)];
}
