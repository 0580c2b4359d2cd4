import type { z } from 'zod';
import type { ErrorCode } from '../protocol/errors.ts';
import type { Scope } from '../protocol/keys.ts';

/** What an answer is made of. */
export interface OperationAnswer {
  readonly description: string;
  /** `application/json` by default. */
  readonly types?: readonly string[];
  /** Of a JSON answer: a name in `components.schemas`. */
  readonly schema?: SchemaName;
}

/** The objects of the API that have a description of their own. */
export type SchemaName =
  | 'ChatCompletion'
  | 'Credits'
  | 'Key'
  | 'List'
  | 'Model'
  | 'Node'
  | 'Object'
  | 'Request'
  | 'TextCompletion';

/** One route as `/openapi.json` describes it. */
export interface Operation {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  /** Parameters in braces. */
  readonly path: string;
  readonly tag: 'Inference' | 'Requests' | 'Money' | 'Keys' | 'Nodes' | 'Audit' | 'Service';
  readonly summary: string;
  /** The scope that a key needs, `admin` for admin keys; `public` takes none. */
  readonly access: Scope | 'admin' | 'public';
  /** A strict object; without one the route takes no parameters. */
  readonly query?: z.ZodType;
  /** Of the body; without one the route takes none. */
  readonly body?: z.ZodType;
  /** Whether the body may be left out. */
  readonly isBodyOptional?: boolean;
  /** Whether it heeds an `Idempotency-Key`. */
  readonly isIdempotent?: boolean;
  readonly answers: Readonly<Record<number, OperationAnswer>>;
  /** Besides those that all routes of its kind have. */
  readonly errors?: readonly ErrorCode[];
}

/** What any route may refuse with. */
const ALWAYS: readonly ErrorCode[] = [
  'receive.malformed_request',
  'gateway.body_too_slow',
  'gateway.overloaded',
  'receive.rate_limited',
  'coordinator.internal',
];
const WITH_BODY: readonly ErrorCode[] = [
  'receive.payload_too_large',
  'gateway.media_type_unsupported',
];

/** All codes that an operation may end with, those of its kind included. */
export function errorsOf({ access, body, errors = [] }: Operation): readonly ErrorCode[] {
  const ofAccess: ErrorCode[] =
    access === 'public'
      ? []
      : [
          'receive.unauthorized',
          access === 'admin' ? 'gateway.admin_required' : 'gateway.scope_missing',
        ];
  return [...new Set([...ALWAYS, ...(body ? WITH_BODY : []), ...ofAccess, ...errors])];
}
