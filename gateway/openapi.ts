import { z } from 'zod';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import { ACCOUNT_OPERATIONS } from './account-operations.ts';
import { INFERENCE_OPERATIONS } from './inference-operations.ts';
import { NODE_OPERATIONS } from './node-operations.ts';
import { COMPONENTS, TAGS } from './openapi-components.ts';
import { errorsOf, type Operation } from './operations.ts';

/** All routes. A test keeps them equal to those that the server has. */
export const OPERATIONS: readonly Operation[] = [
  ...INFERENCE_OPERATIONS,
  ...ACCOUNT_OPERATIONS,
  ...NODE_OPERATIONS,
];

type Json = Readonly<Record<string, unknown>>;

interface QuerySchema {
  readonly properties?: Readonly<Record<string, Json>>;
  readonly required?: readonly string[];
}

/** The API as OpenAPI 3.1 describes it: bodies and queries by the schemas that check them. */
export function openApiDocument(): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of OPERATIONS)
    (paths[operation.path] ??= {})[operation.method] = describe(operation);
  return {
    openapi: '3.1.0',
    info: {
      title: 'ParalleliX',
      version: '1',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description:
        'Inference on machines of strangers, proved and paid for. The routes of OpenAI are ' +
        'answered as OpenAI answers them. Money is wei of $PRLX as a decimal string, times are ' +
        'ISO 8601 in UTC. What a route does not know is refused by name.',
    },
    servers: [{ url: '/' }],
    tags: TAGS,
    paths,
    components: COMPONENTS,
  };
}

function describe(operation: Operation): Json {
  const { tag, summary, access, method, path, body, isBodyOptional } = operation;
  return {
    operationId: `${method}${path.replace(/[^a-z]+(.)?/g, (_, next = '') => next.toUpperCase())}`,
    tags: [tag],
    summary,
    ...(access === 'public'
      ? { security: [] }
      : { security: [{ key: [] }], description: `Needs a key with \`${access}\`.` }),
    parameters: parametersOf(operation),
    ...(body
      ? {
          requestBody: {
            required: !isBodyOptional,
            content: { 'application/json': { schema: schemaOf(body) } },
          },
        }
      : {}),
    responses: { ...failuresOf(operation), ...answersOf(operation) },
  };
}

function schemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

function parametersOf({ path, query, isIdempotent }: Operation): readonly Json[] {
  const ofPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const { properties = {}, required = [] }: QuerySchema = query ? schemaOf(query) : {};
  const ofQuery = Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema,
  }));
  const repeat = isIdempotent ? [{ $ref: '#/components/parameters/IdempotencyKey' }] : [];
  return [...ofPath, ...ofQuery, ...repeat];
}

function answersOf(operation: Operation): Json {
  const { answers, isIdempotent } = operation;
  const headers = [
    'x-trace-id',
    ...(isOfRequest(operation) ? REQUEST_HEADERS : []),
    ...(isIdempotent ? [REPLAY_HEADER, ...LIMIT_HEADERS] : []),
  ];
  return Object.fromEntries(
    Object.entries(answers).map(([status, { description, schema, types }]) => [
      status,
      {
        description,
        headers: headersOf(headers),
        content: Object.fromEntries(
          (types ?? ['application/json']).map((type) => [
            type,
            schema && type === 'application/json'
              ? { schema: { $ref: `#/components/schemas/${schema}` } }
              : { schema: { type: 'string' } },
          ]),
        ),
      },
    ]),
  );
}

const REQUEST_HEADERS = [
  'x-request-id',
  'x-plx-attempts',
  'x-plx-node',
  'x-plx-cost-wei',
  'x-plx-overhead-ms',
];
const REPLAY_HEADER = 'x-plx-idempotent-replay';
const LIMIT_HEADERS = ['requests', 'tokens'].flatMap((counted) =>
  ['limit', 'remaining', 'reset'].map((what) => `x-ratelimit-${what}-${counted}`),
);
/** Refusals that are about a request, and have its headers. */
const OF_KNOWN_REQUEST: readonly ErrorCode[] = [
  'gateway.request_ended',
  'gateway.coordinator_unreachable',
];

function isOfRequest({ isIdempotent, path }: Operation): boolean {
  return isIdempotent === true || path.startsWith('/v1/requests/{id}');
}

function headersOf(names: readonly string[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

/** By status: the codes that a caller may read there, and what they mean. */
function failuresOf(operation: Operation): Json {
  const byStatus: Record<number, ErrorCode[]> = {};
  for (const code of errorsOf(operation)) (byStatus[statusOf(code)] ??= []).push(code);
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, codes]) => [
      status,
      {
        description: codes
          .map((code) => `\`${publicCode(code)}\`: ${errorDefinition(code).message}`)
          .join('\n\n'),
        headers: headersOf(failureHeaders(operation, status, codes)),
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
        'x-error-codes': codes.map(publicCode),
      },
    ]),
  );
}

function failureHeaders(
  operation: Operation,
  status: string,
  codes: readonly ErrorCode[],
): readonly string[] {
  const { isIdempotent } = operation;
  const isAccepted = codes.some(
    (code) => errorDefinition(code).recovery !== 'reject' || OF_KNOWN_REQUEST.includes(code),
  );
  return [
    'x-trace-id',
    'x-should-retry',
    ...(isAccepted && isOfRequest(operation) ? REQUEST_HEADERS : []),
    ...(isAccepted && isIdempotent ? [REPLAY_HEADER, ...LIMIT_HEADERS] : []),
    // By a limit of the key, or its budget.
    ...(isIdempotent && (status === '402' || status === '429') ? LIMIT_HEADERS : []),
    ...(status === '429' || status === '503' ? ['retry-after'] : []),
  ];
}

function statusOf(code: ErrorCode): number {
  return errorDefinition(code).httpStatus;
}

function publicCode(code: ErrorCode): string {
  return errorDefinition(code).apiCode ?? code;
}
