import type { SchemaName } from './operations.ts';

type Json = Readonly<Record<string, unknown>>;

export const TAGS: readonly Json[] = [
  { name: 'Inference', description: "OpenAI's routes." },
  { name: 'Requests', description: 'What becomes of a request, and cancelling it.' },
  { name: 'Money', description: 'Prices, credit, usage.' },
  { name: 'Keys', description: 'API keys of an account, which is an address.' },
  { name: 'Nodes', description: 'The pool and who is let in.' },
  { name: 'Audit', description: 'How random checks are drawn.' },
  { name: 'Service', description: 'The gateway itself.' },
];

const text = { type: 'string' };
const wei = { type: 'string', pattern: '^[0-9]+$', description: 'Wei of $PRLX.' };
const time = { type: 'string', format: 'date-time' };
const count = { type: 'integer', minimum: 0 };

/** An object with at least these members: what else is there is in docs/api.md. */
function object(description: string, properties: Json = {}): Json {
  return { type: 'object', description, properties, required: Object.keys(properties) };
}

function orNull(schema: Json): Json {
  return { anyOf: [schema, { type: 'null' }] };
}

/** An answer of either of OpenAI's APIs. */
function completionOf(name: string): Json {
  return object(`OpenAI's \`${name}\`.`, {
    id: text,
    object: { const: name },
    created: count,
    model: text,
    choices: { type: 'array', items: { type: 'object' } },
    usage: object('In tokens.', {
      prompt_tokens: count,
      completion_tokens: count,
      total_tokens: count,
    }),
  });
}

const SCHEMAS: Readonly<Record<SchemaName | 'Error', Json>> = {
  Error: object('A failure, as OpenAI tells it.', {
    error: {
      type: 'object',
      required: ['message', 'type', 'param', 'code'],
      properties: {
        message: { ...text, description: 'For people.' },
        type: { ...text, description: "In OpenAI's vocabulary." },
        param: { ...orNull(text), description: 'The field that is wrong.' },
        code: { ...text, description: 'Stable: see docs/errors.md.' },
        request_id: { ...text, description: 'Of a request that was accepted.' },
        metadata: { type: 'object', description: 'What a program may want to know besides.' },
      },
    },
  }),
  Object: object('An object.'),
  List: object('A page of a list.', { object: { const: 'list' }, data: { type: 'array' } }),
  ChatCompletion: completionOf('chat.completion'),
  TextCompletion: completionOf('text_completion'),
  Request: object('A request.', {
    id: text,
    object: { const: 'request' },
    status: text,
    model: text,
    accepted_at: time,
    finished_at: orNull(time),
    reserved_wei: wei,
    charged_wei: wei,
    error: orNull(object('Why it has no result.', { code: text, message: text })),
    steps: orNull({ type: 'array', items: { type: 'object' } }),
    result: orNull({
      oneOf: [
        { $ref: '#/components/schemas/ChatCompletion' },
        { $ref: '#/components/schemas/TextCompletion' },
      ],
    }),
  }),
  Credits: object('What an account has.', {
    object: { const: 'credits' },
    account: text,
    available_wei: wei,
    reserved_wei: wei,
    spent_wei: wei,
    deposited_wei: wei,
  }),
  Key: object('An API key; `key`, its secret, is there when it was just made.', {
    id: text,
    name: text,
    scopes: { type: 'array', items: text },
  }),
  Model: object('A model.', { id: text, object: { const: 'model' }, created: count }),
  Node: object('A node.', {
    id: text,
    object: { const: 'node' },
    name: text,
    tier: count,
    model: text,
    status: text,
    online: { type: 'boolean' },
  }),
};

function header(description: string, schema: Json = text): Json {
  return { description, schema };
}

/** Of the key's limits by the minute, on calls that ask for a request. */
const LIMITS: Json = Object.fromEntries(
  ['requests', 'tokens'].flatMap((counted) => [
    [`x-ratelimit-limit-${counted}`, header(`How many ${counted} a minute may have.`, count)],
    [`x-ratelimit-remaining-${counted}`, header(`How many ${counted} are left of them.`, count)],
    [`x-ratelimit-reset-${counted}`, header('Until all are there again: `6s`, `1m0s`.')],
  ]),
);

export const COMPONENTS: Json = {
  securitySchemes: {
    key: { type: 'http', scheme: 'bearer', description: 'An API key: `plx-…`.' },
  },
  parameters: {
    IdempotencyKey: {
      name: 'idempotency-key',
      in: 'header',
      required: false,
      description: 'Calls with the same key and body are one request, charged once.',
      schema: { type: 'string', minLength: 1, maxLength: 255 },
    },
  },
  headers: {
    'x-trace-id': header('Of this call, in the log of the gateway.'),
    'x-request-id': header('Of the request, once it is accepted.'),
    'x-plx-attempts': header('How many nodes were asked.', count),
    'x-plx-node': header('Whose result it is.'),
    'x-plx-cost-wei': header('What it costs.', wei),
    'x-plx-overhead-ms': header('What the network added to the execution.', { type: 'number' }),
    'x-plx-idempotent-replay': header('`true` if an earlier call made the request.'),
    'x-should-retry': header('`false` if the same call would fail again.'),
    ...LIMITS,
    'retry-after': header('In how many seconds to try again.', {
      type: 'integer',
      minimum: 1,
      maximum: 60,
    }),
  },
  schemas: SCHEMAS,
};
