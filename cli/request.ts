import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from './answer.ts';
import type { Api } from './api.ts';
import { prlx, short, span } from './format.ts';
import { PATIENCE, patiently, type Patience } from './patience.ts';
import { safeText, type Terminal } from './terminal.ts';
import type { ErrorView, RequestView, VerificationView } from './views.ts';

const SETTLE_MS_MAX = 10_000;
const SETTLE_POLL_MS = 50;

export function getRequest(api: Api, id: string): Promise<RequestView> {
  return api.get<RequestView>(`/v1/requests/${id}`);
}

/**
 * The record of a request that was answered: the answer comes with Validate, Settle follows.
 *
 * @param say is told, once, when the gateway is away; it is borne with for a while.
 */
export async function settledRequest(
  api: Api,
  id: string,
  say: (line: string) => void = () => {},
  patience: Patience = PATIENCE,
): Promise<RequestView> {
  let untilMs = Date.now() + SETTLE_MS_MAX;
  for (;;) {
    const askedAtMs = Date.now();
    const request = await patiently(() => getRequest(api, id), say, patience);
    // While the gateway was away, nobody could see it settled.
    untilMs += Date.now() - askedAtMs;
    if (request.finished_at !== null || Date.now() > untilMs) return request;
    await sleep(SETTLE_POLL_MS);
  }
}

/**
 * What became of an answered request: the stream may have said nothing of it, or not all.
 *
 * @returns safe for a terminal; null when its answer is good: it is completed, or validated and
 *   still being settled.
 */
export function failureOf(
  { error }: Pick<Answer, 'error'>,
  request: RequestView,
): ErrorView | null {
  const given = error ?? request.error;
  if (given) return { code: safeText(given.code), message: safeText(given.message) };
  if (request.status === 'completed' || request.status === 'validated') return null;
  return {
    code: 'cli.not_completed',
    message:
      `The answer came to its end, but the request is ${safeText(request.status)}. ` +
      'See what becomes of it:\n' +
      `prlx status ${safeText(request.id)} --watch`,
  };
}

/** Names and values of what is worth knowing of a request. */
export function summary(request: RequestView, time: string, out: Terminal): string {
  const { proof_of_execution: proof, error, verification, refund } = request;
  const lines: (readonly [string, string])[] = [
    ['Request', request.id],
    ['Status', `${request.status}${error ? ` (${error.code})` : ''}`],
    ...(error ? [['', error.message] as const] : []),
    ['Node', proof?.node ?? 'none'],
    ['PoE', proof?.poe ?? 'none'],
    ['', 'poe.v1: it shows who returned what, not that it is right'],
    ['Check', verification.message],
    ['Charged', `${request.charged_wei} of ${request.reserved_wei} wei reserved`],
    ...(refund
      ? [['Refunded', `${request.refunded_wei} wei: ${refund.message} (${refund.code})`] as const]
      : []),
    ['Time', time],
    ['Temporal', request.temporal_url ?? 'none'],
  ];
  return lines
    .map(([name, text]) => `${out.style('bold', name.padEnd(9))}${safeText(text)}`)
    .join('\n');
}

/** One line: how long, and how long it may still take. */
export function elapsed(request: RequestView): string {
  const acceptedMs = Date.parse(request.accepted_at);
  if (request.finished_at !== null)
    return `${span(Date.parse(request.finished_at) - acceptedMs)} from acceptance to settlement`;
  const left = span(Date.parse(request.deadline_at) - Date.now());
  return `${span(Date.now() - acceptedMs)} so far; a wait for a node ends in ${left}`;
}

/** A word or two on how it was checked; empty when there is nothing to say yet. */
export function checkWord({ outcome }: VerificationView): string {
  if (outcome === null) return '';
  return outcome === 'not_sampled' ? 'not drawn' : outcome.replaceAll('_', ' ');
}

/** Of a request that was drawn: `hash_only` isn't called checked, since nothing was compared. */
function checkNote(verification: VerificationView): string {
  const compared = ['agreed', 'overruled', 'no_majority'].includes(verification.outcome ?? '');
  const word = checkWord(verification);
  if (compared) return `randomly checked: ${word}`;
  return word ? `drawn to be checked: ${word}` : 'drawn to be checked';
}

/** One line after an answer. */
export function footnote(request: RequestView, elapsedMs: number): string {
  const { id, proof_of_execution: proof, result, error, verification } = request;
  const usage = result?.usage;
  return [
    short(id),
    proof ? `node ${short(proof.node)}` : (error?.code ?? request.status),
    ...(usage ? [`${usage.prompt_tokens} + ${usage.completion_tokens} tokens`] : []),
    ...(verification.sampled ? [checkNote(verification)] : []),
    prlx(request.charged_wei),
    span(elapsedMs),
  ]
    .map((text) => safeText(text))
    .join(' · ');
}
