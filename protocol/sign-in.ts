import { createSiweMessage, parseSiweMessage, validateSiweMessage } from 'viem/siwe';
import { recoverMessageAddress } from 'viem/utils';
import { isCanonicalSignature, type Address } from './binding.ts';
import { CodedError } from './errors.ts';
import type { KeyLimits, KeySpec } from './keys.ts';

/** How long a nonce, and so a sign-in message, is good for. */
export const SIGN_IN_SECONDS = 300;
/** By so much a signer's clock may be ahead. */
const CLOCK_SECONDS_MAX = 60;
const MESSAGE_CHARACTERS_MAX = 4_096;
const URL_PARTS = /^(https?):\/\/([^/:?#@[\]]+)(?::(\d{1,5}))?((?:\/[^?#]*)?)$/i;
/** Such a domain EIP-4361 has, by viem's reading of it. */
const HOST = /^((\d{1,3}\.){3}\d{1,3}|localhost|([a-z\d-]+\.)+[a-z\d-]*[a-z][a-z\d-]*)$/;
const USUAL_PORTS: Readonly<Record<string, string>> = { http: '80', https: '443' };

/** What a sign-in message has to name, so that it is for this network and no other. */
export interface SignInTerms {
  /** The gateway's public host, with its port unless that is the usual one. */
  readonly domain: string;
  readonly uri: string;
  readonly chainId: number;
}

/**
 * @param publicUrl where callers reach the gateway, without a trailing slash.
 * @throws RangeError if its host can't be in a sign-in message (EIP-4361).
 */
export function signInTerms(publicUrl: string, chainId: number): SignInTerms {
  const [, givenScheme = '', givenHost = '', port, path = ''] = URL_PARTS.exec(publicUrl) ?? [];
  const [scheme, host] = [givenScheme.toLowerCase(), givenHost.toLowerCase()];
  if (!HOST.test(host))
    throw new RangeError('its host is no DNS name with a dot, no IPv4 address and not localhost');
  const domain = port === undefined || port === USUAL_PORTS[scheme] ? host : `${host}:${port}`;
  return { domain, uri: `${scheme}://${domain}${path}/v1/auth/keys`, chainId };
}

/** The message by which an account asks for a key, as `personal_sign` takes it (EIP-191). */
export function signInMessage(
  { domain, uri, chainId }: SignInTerms,
  spec: KeySpec,
  { address, nonce, issuedAt }: { address: Address; nonce: string; issuedAt: Date },
): string {
  const expirationTime = new Date(issuedAt.getTime() + SIGN_IN_SECONDS * 1_000);
  const statement = keyStatement(spec);
  const fields = { domain, uri, chainId, version: '1', statement } as const;
  return createSiweMessage({ ...fields, address, nonce, issuedAt, expirationTime });
}

/**
 * What is asked for, in words that a wallet shows. All of it is there, so that a signature makes
 * this key and no other. The name comes last: whatever it says, nothing of ours follows.
 */
export function keyStatement({ name, scopes, expiresInSeconds, limits }: KeySpec): string {
  const ends = expiresInSeconds === null ? 'never' : `${expiresInSeconds} s after its making`;
  return [
    'Make an API key that spends and acts for this account.',
    `It may: ${scopes.join(', ')}. It ends: ${ends}.`,
    ...limitsInWords(limits),
    // EIP-4361 has the characters of URIs and blanks in statements.
    `Name: ${encodeURIComponent(name).replaceAll('%20', ' ')}`,
  ].join(' ');
}

function limitsInWords({
  budgetWei,
  budgetPeriod,
  requestsPerMinute,
  tokensPerMinute,
  concurrency,
}: KeyLimits): string[] {
  const per = budgetPeriod === 'total' ? 'in total' : `a ${budgetPeriod}`;
  return [
    `Budget: ${budgetWei === null ? 'any' : `${budgetWei} wei ${per}`}.`,
    `Requests a minute: ${requestsPerMinute ?? 'any'}.`,
    `Tokens a minute: ${tokensPerMinute ?? 'any'}.`,
    `Requests at once: ${concurrency ?? 'any'}.`,
  ];
}

/**
 * Whether a message that a gateway gives to be signed is what was asked for, at the place that was
 * asked: whoever relays another gateway's message gets nothing signed.
 *
 * @returns undefined if it is, else what differs.
 */
export function signInMismatch(
  message: string,
  terms: SignInTerms,
  spec: KeySpec,
  address: Address,
): string | undefined {
  const { domain, chainId, nonce, issuedAt, statement } = parseSiweMessage(message);
  if (domain !== terms.domain) return `it is for ${domain ?? 'no domain'}, not ${terms.domain}`;
  if (chainId !== terms.chainId) return `it is for chain ${chainId ?? '?'}, not ${terms.chainId}`;
  if (statement !== keyStatement(spec)) return 'it asks for another key';
  if (!nonce || !issuedAt) return 'it has no nonce, or no time';
  const expected = safely(() => signInMessage(terms, spec, { address, nonce, issuedAt }));
  return message === expected ? undefined : 'it is not in the form of EIP-4361 that is used here';
}

/** A sign-in that somebody sends. */
export interface SignIn {
  readonly message: string;
  readonly signature: string;
  /** What they ask for beside it. */
  readonly spec: KeySpec;
}

/**
 * Checks a sign-in message and who signed it. Each has one form, that of `signInMessage` with other
 * times perhaps, so that nothing is in it that wasn't looked at. Whether its nonce is one, and
 * unused, the caller has to see to.
 *
 * Only externally owned accounts can sign: a contract's word would have to be asked for on its
 * chain.
 *
 * @throws CodedError `gateway.sign_in_invalid` with what is wrong.
 */
export async function checkSignIn(
  { message, signature, spec }: SignIn,
  terms: SignInTerms,
  now: Date,
): Promise<{ readonly address: Address; readonly nonce: string }> {
  const nonce = checkMessage(message, terms, spec, now);
  if (!isCanonicalSignature(signature))
    throw invalid('The signature is not 65 bytes in hex, its s in the lower half, v 27 or 28.');
  // Not every pair of numbers is a signature.
  const signer = await recoverMessageAddress({ message, signature }).catch(() => null);
  const { address } = parseSiweMessage(message);
  if (!signer || signer !== address) throw invalid('The account that it names did not sign it.');
  return { address: signer.toLowerCase() as Address, nonce };
}

/** @returns its nonce. */
function checkMessage(message: string, terms: SignInTerms, spec: KeySpec, now: Date): string {
  if (message.length > MESSAGE_CHARACTERS_MAX) throw invalid('The message is too long.');
  const parsed = parseSiweMessage(message);
  const { address, nonce, issuedAt, expirationTime, notBefore } = parsed;
  if (!address || !nonce || !issuedAt || !expirationTime)
    throw invalid('The message is none of EIP-4361 with an expiration time.');
  if (parsed.domain !== terms.domain) throw invalid(`The domain is not ${terms.domain}.`);
  if (parsed.uri !== terms.uri) throw invalid(`The URI is not ${terms.uri}.`);
  if (parsed.chainId !== terms.chainId) throw invalid(`The chain id is not ${terms.chainId}.`);
  const statement = keyStatement(spec);
  if (parsed.statement !== statement)
    throw invalid('The statement is another: it names scopes, end, limits and name of the key.');
  checkTimes({ issuedAt, expirationTime, notBefore }, now);
  if (!validateSiweMessage({ message: parsed, domain: terms.domain, time: now }))
    throw invalid('The message has ended, or has not begun.');
  const fields = { ...terms, version: '1', statement, address, nonce } as const;
  const times = { issuedAt, expirationTime, ...(notBefore ? { notBefore } : {}) };
  if (safely(() => createSiweMessage({ ...fields, ...times })) !== message)
    throw invalid('The message is not in the form in which POST /v1/auth/nonce gives it.');
  return nonce;
}

interface Times {
  readonly issuedAt: Date;
  readonly expirationTime: Date;
  readonly notBefore: Date | undefined;
}

function checkTimes({ issuedAt, expirationTime, notBefore }: Times, now: Date): void {
  if ([issuedAt, expirationTime, notBefore].some((time) => time && Number.isNaN(time.getTime())))
    throw invalid('A time in the message is none.');
  const ageSeconds = (now.getTime() - issuedAt.getTime()) / 1_000;
  if (ageSeconds < -CLOCK_SECONDS_MAX) throw invalid('The message was issued in the future.');
  if (ageSeconds > SIGN_IN_SECONDS) throw invalid('The message was issued too long ago.');
  const lifeSeconds = (expirationTime.getTime() - issuedAt.getTime()) / 1_000;
  if (lifeSeconds > SIGN_IN_SECONDS)
    throw invalid(`The message is good for more than ${SIGN_IN_SECONDS} s.`);
}

function safely(make: () => string): string | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

function invalid(detail: string): CodedError {
  return new CodedError('gateway.sign_in_invalid', detail);
}
