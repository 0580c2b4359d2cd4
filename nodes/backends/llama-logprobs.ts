import { LOGPROB_MIN, TOKEN_LENGTH_MAX, type TokenLogprob } from '../../protocol/result.ts';

/** What llama.cpp says of one sampled token, as far as it was asked. */
export interface Sampled<T> {
  readonly token: T;
  /** Of all tokens that could be sampled, likeliest first. */
  readonly probabilities?: ReadonlyMap<T, number>;
  /** Of the sampled token. */
  readonly confidence?: number;
}

const LONE_SURROGATE = /\p{Surrogate}/gu;
/** Stands for a part of a character, also where llama.cpp gives no text at all for one. */
const REPLACEMENT = '\uFFFD';
/** Tells probabilities apart as far as they can be compared between machines at all. */
const DECIMALS = 1e6;

/**
 * Log probabilities of the tokens of one answer. They are of the distribution that was sampled
 * from, so after temperature and top-p; at temperature 0, where none is, of the model's own.
 */
export class LogprobCollector<T> {
  readonly #top: number;
  readonly #textOf: (token: T) => string;
  readonly #entries: { readonly start: number; readonly entry: TokenLogprob }[] = [];

  /** @param top how many alternatives to tell of each token. */
  constructor(top: number, textOf: (token: T) => string) {
    this.#top = top;
    this.#textOf = textOf;
  }

  /** What to ask llama.cpp for: all probabilities cost a tenth of a small model's time. */
  get wanted(): { probabilities: boolean; confidence: boolean } {
    return { probabilities: this.#top > 0, confidence: this.#top === 0 };
  }

  /** @param start where in the text, in UTF-16 code units, what the token adds begins. */
  push({ token, probabilities, confidence }: Sampled<T>, start: number): void {
    const likeliest = [...(probabilities ?? [])].slice(0, this.#top);
    const entry = {
      token: this.#name(token),
      logprob: logprobOf(probabilities?.get(token) ?? confidence ?? 0),
      top: likeliest
        .filter(([, probability]) => probability > 0)
        .map(([id, probability]) => ({ token: this.#name(id), logprob: logprobOf(probability) })),
    };
    this.#entries.push({ start, entry });
  }

  /** Of those tokens that are in the text: those of a stop string aren't. */
  end(textLength: number): TokenLogprob[] {
    return this.#entries.filter(({ start }) => start < textLength).map(({ entry }) => entry);
  }

  #name(token: T): string {
    const text = this.#textOf(token).slice(0, TOKEN_LENGTH_MAX);
    return text.replace(LONE_SURROGATE, REPLACEMENT) || REPLACEMENT;
  }
}

function logprobOf(probability: number): number {
  const logprob = Math.round(Math.log(probability) * DECIMALS) / DECIMALS;
  return Math.min(0, Math.max(LOGPROB_MIN, Number.isNaN(logprob) ? LOGPROB_MIN : logprob));
}
