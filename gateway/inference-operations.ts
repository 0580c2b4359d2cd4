import type { ErrorCode } from '../protocol/errors.ts';
import { chatRequestSchema } from './openai.ts';
import type { Operation } from './operations.ts';
import { noParameters } from './query.ts';
import { resumeQuery } from './resume-routes.ts';
import { requestsQuery } from './request-routes.ts';
import { textRequestSchema } from './text-completions.ts';

/** Why a request isn't accepted. */
const REFUSALS: readonly ErrorCode[] = [
  'receive.unknown_model',
  'receive.unknown_workload_class',
  'receive.no_price',
  'receive.insufficient_credit',
  'receive.budget_exhausted',
  'receive.credit_account_forbidden',
  'receive.rate_limited',
  'receive.idempotency_mismatch',
  'gateway.coordinator_unreachable',
];
/** How one ends that was accepted and has no answer. */
const FAILURES: readonly ErrorCode[] = [
  'receive.not_started',
  'schedule.deadline_elapsed',
  'dispatch.node_unreachable',
  'dispatch.envelope_rejected',
  'node.deadline_exceeded',
  'execute.node_lost',
  'execute.backend_failed',
  'execute.context_exceeded',
  'execute.invalid_request',
  'execute.cancelled',
  'validate.no_majority',
  'coordinator.run_lost',
];
const unknown: readonly ErrorCode[] = ['gateway.request_not_found'];

/** Requests: made, looked at, cancelled. */
export const INFERENCE_OPERATIONS: readonly Operation[] = [
  {
    method: 'post',
    path: '/v1/chat/completions',
    tag: 'Inference',
    summary: 'Answers a conversation, whole or as a stream of server-sent events',
    access: 'inference',
    body: chatRequestSchema,
    isIdempotent: true,
    answers: {
      200: {
        description: 'The answer; with `stream`, chunks of it and then `[DONE]`.',
        types: ['application/json', 'text/event-stream'],
        schema: 'ChatCompletion',
      },
    },
    errors: [...REFUSALS, ...FAILURES],
  },
  {
    method: 'post',
    path: '/v1/completions',
    tag: 'Inference',
    summary: 'Goes on with a text, whole or as a stream of server-sent events',
    access: 'inference',
    body: textRequestSchema,
    isIdempotent: true,
    answers: {
      200: {
        description: 'The text; with `stream`, chunks of it and then `[DONE]`.',
        types: ['application/json', 'text/event-stream'],
        schema: 'TextCompletion',
      },
    },
    errors: [...REFUSALS, ...FAILURES],
  },
  {
    method: 'post',
    path: '/v1/requests',
    tag: 'Requests',
    summary: 'Takes a chat request whose answer is fetched later',
    access: 'inference',
    body: chatRequestSchema,
    isIdempotent: true,
    answers: { 202: { description: 'It was accepted.', schema: 'Object' } },
    errors: REFUSALS,
  },
  {
    method: 'get',
    path: '/v1/requests',
    tag: 'Requests',
    summary: "The account's requests, newest first",
    access: 'read',
    query: requestsQuery,
    answers: { 200: { description: 'One page of them.', schema: 'List' } },
    errors: unknown,
  },
  {
    method: 'get',
    path: '/v1/requests/{id}',
    tag: 'Requests',
    summary: 'All that is known of one request: its nine steps, attempts, cost, checks, result',
    access: 'read',
    answers: { 200: { description: 'The request.', schema: 'Request' } },
    errors: unknown,
  },
  {
    method: 'delete',
    path: '/v1/requests/{id}',
    tag: 'Requests',
    summary: 'Cancels a request',
    access: 'inference',
    answers: {
      200: { description: 'It is cancelled, now or before.', schema: 'Request' },
      202: { description: 'It is still ending.', schema: 'Request' },
    },
    errors: [...unknown, 'gateway.request_ended', 'gateway.coordinator_unreachable'],
  },
  {
    method: 'post',
    path: '/v1/requests/{id}/cancel',
    tag: 'Requests',
    summary: 'Cancels a request, as DELETE does',
    access: 'inference',
    body: noParameters,
    isBodyOptional: true,
    answers: {
      200: { description: 'It is cancelled, now or before.', schema: 'Request' },
      202: { description: 'It is still ending.', schema: 'Request' },
    },
    errors: [...unknown, 'gateway.request_ended', 'gateway.coordinator_unreachable'],
  },
  {
    method: 'get',
    path: '/v1/requests/{id}/stream',
    tag: 'Requests',
    summary: 'The stream of a request behind any of its numbers',
    access: 'read',
    query: resumeQuery,
    answers: { 200: { description: 'Server-sent events.', types: ['text/event-stream'] } },
    errors: [...unknown, ...FAILURES, 'gateway.coordinator_unreachable'],
  },
  {
    method: 'get',
    path: '/v1/requests/{id}/explain',
    tag: 'Requests',
    summary: 'Why a request is where it is, and which filter each node fails',
    access: 'read',
    answers: { 200: { description: 'The explanation.', schema: 'Object' } },
    errors: unknown,
  },
  {
    method: 'get',
    path: '/v1/models',
    tag: 'Inference',
    summary: 'What is served, and at what price',
    access: 'public',
    answers: { 200: { description: 'All models.', schema: 'List' } },
  },
  {
    method: 'get',
    path: '/v1/models/{id}',
    tag: 'Inference',
    summary: 'One model, its standard price, and what its nodes can do now besides chat',
    access: 'public',
    answers: { 200: { description: 'The model.', schema: 'Model' } },
    errors: ['receive.unknown_model'],
  },
];
