import assert from 'node:assert/strict';
import { openApiDocument } from '../../gateway/openapi.ts';

interface Described {
  readonly paths: Readonly<
    Record<string, Readonly<Record<string, { readonly responses: Responses }>>>
  >;
}
type Responses = Readonly<
  Record<string, { readonly headers?: Readonly<Record<string, { readonly $ref: string }>> }>
>;

/** What HTTP has itself, and a word to proxies. */
const NOT_OURS = /^(?!x-|retry-after$)|^x-accel-buffering$/;

/**
 * Every header of ours that an answer has is in `/openapi.json`, at its operation and status.
 *
 * @param path as the document has it.
 */
export function assertHeadersDescribed(
  method: 'get' | 'post',
  path: string,
  { status, headers }: Pick<Response, 'status' | 'headers'>,
): void {
  const { paths } = openApiDocument() as unknown as Described;
  const described = paths[path]?.[method]?.responses[status]?.headers ?? assert.fail(`${status}`);
  for (const name of headers.keys())
    assert.ok(NOT_OURS.test(name) || described[name], `${method} ${path} ${status}: ${name}`);
}
