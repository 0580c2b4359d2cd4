import type { ErrorCode } from '../protocol/errors.ts';
import { alertsQuery, credited } from './credits-routes.ts';
import { changeBody, specBody } from './key-body.ts';
import { keysQuery, rotateBody } from './key-routes.ts';
import type { Operation } from './operations.ts';
import { pricesQuery, published } from './prices-routes.ts';
import { nonceBody, signInBody } from './sign-in-routes.ts';
import { usageQuery } from './usage-routes.ts';

const unknownKey: readonly ErrorCode[] = ['gateway.key_not_found'];

/** Money, and the keys that may spend it. */
export const ACCOUNT_OPERATIONS: readonly Operation[] = [
  {
    method: 'get',
    path: '/v1/prices',
    tag: 'Money',
    summary: 'What tokens cost, by model, tier and priority',
    access: 'public',
    query: pricesQuery,
    answers: {
      200: { description: 'The newest version of each, and later ones.', schema: 'List' },
    },
  },
  {
    method: 'post',
    path: '/v1/models/{id}/prices',
    tag: 'Money',
    summary: 'Publishes the next version of the prices of a model',
    access: 'admin',
    body: published,
    answers: {
      200: { description: 'They were published before.', schema: 'List' },
      201: { description: 'They are published.', schema: 'List' },
    },
    errors: ['receive.unknown_model'],
  },
  {
    method: 'get',
    path: '/v1/credits',
    tag: 'Money',
    summary: 'What the account has, has reserved and has spent',
    access: 'read',
    answers: { 200: { description: 'Amounts in wei.', schema: 'Credits' } },
  },
  {
    method: 'post',
    path: '/v1/accounts/{address}/credits',
    tag: 'Money',
    summary: 'Credits an account, once for each reference',
    access: 'admin',
    body: credited,
    answers: {
      200: { description: 'It was credited before.', schema: 'Credits' },
      201: { description: 'It is credited.', schema: 'Credits' },
    },
    errors: ['gateway.account_not_found'],
  },
  {
    method: 'get',
    path: '/v1/usage',
    tag: 'Money',
    summary: 'Requests, tokens and money by time, key, model and more',
    access: 'read',
    query: usageQuery,
    answers: {
      200: {
        description: 'Sums, also as CSV.',
        types: ['application/json', 'text/csv'],
        schema: 'Object',
      },
    },
  },
  {
    method: 'get',
    path: '/v1/alerts',
    tag: 'Money',
    summary: 'Which keys have used 80 or 100 % of their budget',
    access: 'read',
    query: alertsQuery,
    answers: { 200: { description: 'One page of alerts, latest first.', schema: 'List' } },
  },
  {
    method: 'post',
    path: '/v1/auth/nonce',
    tag: 'Keys',
    summary: 'The message (EIP-4361) to sign for a key of an account',
    access: 'public',
    body: nonceBody,
    answers: { 200: { description: 'A nonce and the message with it.', schema: 'Object' } },
    errors: ['receive.rate_limited'],
  },
  {
    method: 'post',
    path: '/v1/auth/keys',
    tag: 'Keys',
    summary: 'Makes a key for the account that signed the message',
    access: 'public',
    body: signInBody,
    answers: { 201: { description: 'The key: shown once.', schema: 'Key' } },
    errors: ['receive.rate_limited', 'gateway.sign_in_invalid', 'gateway.too_many_keys'],
  },
  {
    method: 'get',
    path: '/v1/keys',
    tag: 'Keys',
    summary: "The account's keys",
    access: 'keys',
    query: keysQuery,
    answers: { 200: { description: 'One page of them, without secrets.', schema: 'List' } },
    errors: unknownKey,
  },
  {
    method: 'post',
    path: '/v1/keys',
    tag: 'Keys',
    summary: 'Makes another key',
    access: 'keys',
    body: specBody,
    answers: { 201: { description: 'The key: shown once.', schema: 'Key' } },
    errors: ['gateway.too_many_keys'],
  },
  {
    method: 'get',
    path: '/v1/keys/{id}',
    tag: 'Keys',
    summary: 'One key, with its limits and what is used of them',
    access: 'keys',
    answers: { 200: { description: 'The key, without its secret.', schema: 'Key' } },
    errors: unknownKey,
  },
  {
    method: 'patch',
    path: '/v1/keys/{id}',
    tag: 'Keys',
    summary: 'Changes name and limits of a key',
    access: 'keys',
    body: changeBody,
    answers: { 200: { description: 'The key as it is now.', schema: 'Key' } },
    errors: unknownKey,
  },
  {
    method: 'delete',
    path: '/v1/keys/{id}',
    tag: 'Keys',
    summary: 'Revokes a key',
    access: 'keys',
    answers: { 200: { description: 'The key, which is of no use any more.', schema: 'Key' } },
    errors: [...unknownKey, 'gateway.admin_required'],
  },
  {
    method: 'post',
    path: '/v1/keys/{id}/rotate',
    tag: 'Keys',
    summary: 'Gives a key a new secret',
    access: 'keys',
    body: rotateBody,
    isBodyOptional: true,
    answers: { 200: { description: 'The key: shown once.', schema: 'Key' } },
    errors: unknownKey,
  },
];
