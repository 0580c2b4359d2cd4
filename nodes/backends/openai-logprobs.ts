import { z } from 'zod';
import { LOGPROB_MIN, TOKEN_LENGTH_MAX, type TokenLogprob } from '../../protocol/result.ts';

const LONE_SURROGATE = /\p{Surrogate}/gu;
const REPLACEMENT = '\uFFFD';

/** JSON has no infinity: servers say null, or a number as low as they like. */
const number = z.number().nullish();
const entry = z.object({
  token: z.string(),
  logprob: number,
  bytes: z.array(z.int().min(0).max(255)).max(TOKEN_LENGTH_MAX).nullish().catch(null),
});
/** As chats have it; llama.cpp has it so for completions too. */
const contentSchema = z.object({
  content: z.array(entry.extend({ top_logprobs: z.array(entry).nullish() })),
});
/** As completions have it. */
const listsSchema = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(number),
  top_logprobs: z.array(z.record(z.string(), number).nullish()).nullish(),
});

/**
 * What one chunk says of its tokens, in the form of results.
 *
 * @param top how many alternatives were asked for; servers may tell more.
 * @returns none for what has neither of the forms that servers use.
 */
export function readLogprobs(said: unknown, top: number): TokenLogprob[] {
  const content = contentSchema.safeParse(said);
  if (content.success)
    return content.data.content.map(({ token, logprob, bytes, top_logprobs: others }) => ({
      ...named(token, logprob),
      ...bytesOf(token, bytes),
      top: likeliest(
        (others ?? []).map((other) => named(other.token, other.logprob)),
        top,
      ),
    }));
  const lists = listsSchema.safeParse(said);
  if (!lists.success) return [];
  const { tokens, token_logprobs: logprobs, top_logprobs: others } = lists.data;
  return tokens.map((token, index) => ({
    ...named(token, logprobs[index]),
    top: likeliest(
      Object.entries(others?.[index] ?? {}).map(([name, logprob]) => named(name, logprob)),
      top,
    ),
  }));
}

function named(token: string, logprob: number | null | undefined) {
  return {
    token: token.slice(0, TOKEN_LENGTH_MAX).replace(LONE_SURROGATE, REPLACEMENT),
    logprob: Math.min(0, Math.max(LOGPROB_MIN, logprob ?? LOGPROB_MIN)),
  };
}

function likeliest<Named extends { readonly logprob: number }>(all: readonly Named[], top: number) {
  return all.toSorted((a, b) => b.logprob - a.logprob).slice(0, top);
}

/** Where they say more than the token's text does. */
function bytesOf(token: string, bytes: number[] | null | undefined): { bytes?: number[] } {
  if (!bytes || Buffer.from(token).equals(Buffer.from(bytes))) return {};
  return { bytes };
}
