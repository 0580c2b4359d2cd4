import type { SealedRequest, WrappedRequest } from './envelope.ts';
import type { RequestId } from './ids.ts';
import type { WorkloadClassName } from './workload.ts';

/** From least to most pressing; the number is also Temporal's priority key (1 is first). */
export const PRIORITY_KEYS = { urgent: 1, expedited: 3, standard: 5 } as const;
export type Priority = keyof typeof PRIORITY_KEYS;

export const DEADLINE_SECONDS_DEFAULT = 120;
export const DEADLINE_SECONDS_MAX = 86_400;
export const HARDWARE_TIER_MAX = 5;
/** Of models and workload classes: nothing that a database or a log could choke on. */
export const NAME = /^[\w.:/@+-]{1,200}$/;
export const MAX_TOKENS_DEFAULT = 256;
export const MAX_TOKENS_MAX = 8_192;
/** Seeds are below it: unsigned 32 bits. */
export const SEED_END = 0x1_0000_0000;
/** Of the sealed payload. Temporal refuses inputs above 2 MB; base64 adds a third. */
export const PAYLOAD_BYTES_MAX = 512 * 1024;

/**
 * What travels in the clear beside a sealed payload, because the coordinator needs it to meter and
 * schedule. The envelope is bound to it: nobody can change a field without breaking the seal.
 */
export interface RequestParameters {
  readonly workloadClass: WorkloadClassName;
  readonly model: string;
  /** The least hardware tier that may serve it, 1 (any) to 5. */
  readonly hardwareTier: number;
  readonly priority: Priority;
  /** Bounds the wait from acceptance, and each execution from decrypt. 1–86,400. */
  readonly deadlineSeconds: number;
  /** Upper bound of generated tokens, for each choice; of all together `MAX_TOKENS_MAX`. */
  readonly maxTokens: number;
  /** Whether the node sends the text while it generates. */
  readonly stream: boolean;
  /** Unsigned 32 bits; null lets the coordinator draw one. */
  readonly seed: number | null;
  /** How many answers, each drawn with a seed of its own. Absent means 1. */
  readonly choices?: number;
  /** What the node's backend has to be able to do besides chat, in ascending order. */
  readonly features?: readonly Feature[];
}

/**
 * What has to be known before a result is delivered (design §7): nothing (`early`: text streams
 * provisionally), check 1 (`validated`), or all checks (`strict`).
 */
export type Delivery = 'early' | 'validated' | 'strict';

/** What some backends can do: raw prompts, the log probabilities of tokens, several answers. */
export const FEATURES = ['choices', 'completion', 'logprobs'] as const;
export type Feature = (typeof FEATURES)[number];
/** Of one request. */
export const CHOICES_MAX = 16;

/** A public X25519 key (RFC 8037): results are sealed to it. */
export interface RequesterKey {
  readonly kty: 'OKP';
  readonly crv: 'X25519';
  readonly x: string;
}

/** What Receive hands on: the input of the `inference` workflow. Amounts are decimal wei. */
export interface AcceptedInference {
  readonly requestId: RequestId;
  readonly accountId: string;
  readonly parameters: RequestParameters;
  /** Absent means `validated`. */
  readonly delivery?: Delivery;
  readonly requesterKey: RequesterKey;
  /** The payload, its content key wrapped for the coordinator alone. */
  readonly envelope: WrappedRequest;
  /** Length of the sealed plaintext. */
  readonly payloadBytes: number;
  /** Digest of the weights that `parameters.model` stood for when the request was accepted. */
  readonly modelDigest: string;
  /** Chosen by the coordinator, the same for every attempt, so that results can be compared. */
  readonly seed: number;
  /** Estimated size in tokens: see `complexityTokens`. */
  readonly complexity: number;
  /** Per token, as it was when the request was accepted. */
  readonly price: { readonly promptWei: string; readonly completionWei: string };
  readonly reservedWei: string;
  /** Milliseconds since the epoch. */
  readonly acceptedAtMs: number;
  readonly deadlineAtMs: number;
  readonly receiveElapsedMs: number;
}

/** What the gateway asks of Receive, on behalf of one caller. */
export interface IntakeCall {
  /** Drawn by the gateway per request: a call repeated with it joins the first. */
  readonly intakeKey: string;
  readonly accountId: string;
  readonly parameters: RequestParameters;
  /** Absent means `validated`. */
  readonly delivery?: Delivery;
  /** Whether the call stays open until the request has ended. Absent means until its outcome. */
  readonly untilEnd?: boolean;
  /** The API key that the request is metered by. Absent: by its account's credit alone. */
  readonly keyId?: string;
  /**
   * What was asked for, as 64 hex digits. A repeated call with another one is refused; absent means
   * that `intakeKey` was drawn for this one call.
   */
  readonly bodyDigest?: string;
  readonly requesterKey: RequesterKey;
  /** Sealed to a current intake key of the coordinator. */
  readonly envelope: SealedRequest;
}

/** Room for the chat template's own tokens, which the payload doesn't contain. */
const TEMPLATE_TOKENS_MAX = 256;

/**
 * Upper bound of a prompt's tokens. The coordinator can't read the prompt, but no byte-level
 * tokenizer makes more tokens than bytes, so the sealed length bounds it.
 */
export function promptTokensMax(payloadBytes: number): number {
  return payloadBytes + TEMPLATE_TOKENS_MAX;
}

/**
 * The size of an inference request in tokens: prompt and maximum output. The prompt's share is an
 * estimate (4 bytes a token is usual for prose), since it orders the queue and charges nobody. It
 * counts for each choice, as each is computed by itself.
 *
 * @param outputTokens of all choices together.
 */
export function complexityTokens(payloadBytes: number, outputTokens: number, choices = 1): number {
  return choices * Math.ceil(payloadBytes / 4) + outputTokens;
}

/** Upper bound of what all choices generate together. */
export function outputTokensMax({
  maxTokens,
  choices = 1,
}: Pick<RequestParameters, 'maxTokens' | 'choices'>): number {
  return choices * maxTokens;
}

/**
 * The seed of each choice: the unit's for the first one, and the next ones for the others, so that
 * the choices differ and any node can draw them again.
 *
 * @param index from 0.
 */
export function choiceSeed(seed: number, index: number): number {
  return (seed + index) % SEED_END;
}
