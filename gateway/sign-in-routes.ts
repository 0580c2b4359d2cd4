import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { apiKeyHash, apiKeyHint, drawApiKey } from '../crypto/api-key.ts';
import { drawSignInNonce, signInNonceEnd, signInNonceKeys } from '../crypto/sign-in-nonce.ts';
import { openAccount, storeKey, useNonce } from '../prisma/api-keys.ts';
import { inTransaction } from '../prisma/client.ts';
import { addressKey, KeyedBuckets } from '../protocol/buckets.ts';
import type { Address } from '../protocol/binding.ts';
import { CodedError } from '../protocol/errors.ts';
import { checkSignIn, SIGN_IN_SECONDS, signInMessage } from '../protocol/sign-in.ts';
import type { GatewayDependencies } from './context.ts';
import { endOf, specFields, specOf } from './key-body.ts';
import { describeKey } from './key-view.ts';
import { noParameters, parseQuery } from './query.ts';

/** Calls of one address, of both routes: whoever has no key yet is known by nothing else. */
const CALLS_PER_SECOND = 0.5;
const CALLS_BURST = 30;
/** Keys of one account that may be used. */
export const KEYS_MAX = 1_000;
/** So many more by signatures alone: no key can fill the list against the account's owner. */
const OWNER_KEYS = 100;

const address = z.templateLiteral(['0x', z.string().regex(/^[0-9a-fA-F]{40}$/)], {
  error: 'is not an address: 0x and 40 hex digits',
});
export const nonceBody = z.strictObject({ address, ...specFields });
export const signInBody = z.strictObject({
  message: z.string().max(4_096),
  signature: z.string().max(132),
  ...specFields,
});

/**
 * Keys for whoever signs for an account (EIP-4361): an account is an address, and is there once it
 * has its first key. These routes take no key.
 */
export function signInRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database, signIn: terms, log } = dependencies;
  const nonceKeys = signInNonceKeys(dependencies.requesterRing);
  const calls = new KeyedBuckets(CALLS_PER_SECOND, CALLS_BURST);
  const limit = ({ ip }: FastifyRequest, reply: FastifyReply) => {
    if (calls.take(addressKey(ip), performance.now())) return;
    reply.header('retry-after', Math.ceil(1 / CALLS_PER_SECOND));
    throw new CodedError('receive.rate_limited', 'Sign-ins from one address have a limit.');
  };
  app.post('/v1/auth/nonce', async (request, reply) => {
    limit(request, reply);
    parseQuery(noParameters, request.query);
    const { address, ...body } = parseQuery(nonceBody, request.body ?? {});
    const account = address.toLowerCase() as Address;
    const issuedAt = new Date();
    const expiresAt = new Date(issuedAt.getTime() + SIGN_IN_SECONDS * 1_000);
    const nonce = drawSignInNonce(nonceKeys, account, expiresAt);
    const message = signInMessage(terms, specOf(body), { address: account, nonce, issuedAt });
    reply.header('cache-control', 'no-store');
    return { object: 'sign_in', nonce, message, expires_at: expiresAt.toISOString() };
  });
  app.post('/v1/auth/keys', async (request, reply) => {
    limit(request, reply);
    parseQuery(noParameters, request.query);
    const { message, signature, ...body } = parseQuery(signInBody, request.body ?? {});
    const [spec, now] = [specOf(body), new Date()];
    const signed = await checkSignIn({ message, signature, spec }, terms, now);
    const endsAt = signInNonceEnd(nonceKeys, signed.address, signed.nonce);
    const key = drawApiKey();
    const made = await inTransaction(database, async (transaction) => {
      if (!endsAt || !(await useNonce(transaction, signed.nonce, endsAt)))
        throw new CodedError('gateway.sign_in_invalid', 'The nonce is unknown, used or too old.');
      await openAccount(transaction, signed.address);
      const row = await storeKey(
        transaction,
        {
          accountId: signed.address,
          keyHash: apiKeyHash(key),
          hint: apiKeyHint(key),
          name: spec.name,
          scopes: spec.scopes,
          expiresAt: endOf(spec, now),
          limits: spec.limits,
        },
        KEYS_MAX + OWNER_KEYS,
      );
      if (!row) throw new CodedError('gateway.too_many_keys');
      return row;
    });
    log.info({ account: signed.address, key: made.id }, 'gateway // API key made by a signature');
    // Here and never again.
    reply.code(201).header('cache-control', 'no-store');
    return { ...describeKey(made), account: signed.address, key };
  });
}
