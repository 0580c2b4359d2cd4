import assert from 'node:assert/strict';
import diagnostics from 'node:diagnostics_channel';
import type { NodeKeys } from '../../crypto/keys.ts';
import { openRequest } from '../../crypto/request.ts';
import { openTicket } from '../../crypto/ticket.ts';
import type { ExecuteInput } from '../../protocol/execute.ts';

/** Where two sights may differ, and why that tells a node nothing. */
export interface Difference {
  readonly path: RegExp;
  readonly why: string;
  /** Whether the size may differ, too. */
  readonly anySize?: true;
}

type Leaf = string | number | boolean | null;

/** What a node is given for an attempt, and what it makes of that with its key. */
export async function given(input: ExecuteInput, { encryption }: NodeKeys) {
  const { envelope, parameters, requesterKey } = input;
  const payload = await openRequest(envelope, parameters, requesterKey, encryption.privateKey);
  return {
    input,
    ticket: await openTicket(input.ticket, encryption.privateKey),
    payload: Buffer.from(payload).toString(),
  };
}

/** What the coordinator answered to one call; of a long answer, what has come so far. */
export interface Answer {
  readonly call: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  body: string;
}

/**
 * Writes down what the nodes of this process are answered from now on, in the order of the answers.
 *
 * @returns ends it.
 */
export function recordAnswers(answers: Answer[]): () => void {
  const byRequest = new Map<object, Answer>();
  const onHeaders = (message: unknown) => {
    const { request, response } = message as Headers;
    // An edge in this process calls its coordinator the same way.
    if (!request.path.startsWith('/v1/node/')) return;
    const call = `${request.method} ${request.path}`;
    const headers = pairs(response.headers.map(String));
    const answer: Answer = { call, status: response.statusCode, headers, body: '' };
    byRequest.set(request, answer);
    answers.push(answer);
  };
  const onChunk = (message: unknown) => {
    const { request, chunk } = message as Chunk;
    const answer = byRequest.get(request);
    if (answer) answer.body += chunk.toString();
  };
  diagnostics.subscribe('undici:request:headers', onHeaders);
  diagnostics.subscribe('undici:request:bodyChunkReceived', onChunk);
  return () => {
    diagnostics.unsubscribe('undici:request:headers', onHeaders);
    diagnostics.unsubscribe('undici:request:bodyChunkReceived', onChunk);
  };
}

/** What undici publishes. */
interface Headers {
  readonly request: { readonly method: string; readonly path: string };
  readonly response: { readonly statusCode: number; readonly headers: readonly Buffer[] };
}

interface Chunk {
  readonly request: object;
  readonly chunk: Buffer;
}

function pairs(raw: readonly string[]): Record<string, string> {
  const names = raw.filter((_, index) => index % 2 === 0);
  return Object.fromEntries(
    names.map((name, index) => [name.toLowerCase(), raw[2 * index + 1] ?? '']),
  );
}

/**
 * Asserts that a node can't tell two sights from each other: the same members, the same sizes, and
 * the same values but for the differences that are listed. Each of those has to be of some use.
 */
export function assertAlike(one: object, other: object, differences: readonly Difference[]): void {
  const [first, second] = [flat(one), flat(other)];
  assert.deepEqual([...second.keys()], [...first.keys()]);
  for (const [path, value] of first) {
    const now = second.get(path) ?? null;
    if (now === value) continue;
    const difference = differences.find((listed) => listed.path.test(path));
    assert.ok(difference, `${path} was ${String(value)} and is ${String(now)}`);
    if (difference.anySize !== true) assert.equal(size(now), size(value), `the size of ${path}`);
  }
  for (const { path, why } of differences)
    assert.ok(
      [...first.keys()].some((key) => path.test(key)),
      `nothing is ${String(path)}: ${why}`,
    );
}

function size(value: Leaf): string {
  return `${typeof value} of ${String(value).length}`;
}

/** Every member by its path. */
function flat(value: unknown, path = ''): Map<string, Leaf> {
  if (value instanceof Uint8Array)
    return new Map([[path, Buffer.from(value).toString('base64url')]]);
  if (typeof value !== 'object' || value === null)
    return new Map(value === undefined ? [] : [[path, value as Leaf]]);
  const members = Object.entries(value).flatMap(([name, member]) => [
    ...flat(member, path === '' ? name : `${path}.${name}`),
  ]);
  // An empty one has to be empty in the other, too.
  return new Map(members.length > 0 ? members : [[path, Array.isArray(value) ? '[]' : '{}']]);
}
