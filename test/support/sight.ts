import assert from 'node:assert/strict';
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
  const original = globalThis.fetch;
  globalThis.fetch = async (input, init) => {
    const response = await original(input, init);
    const url = input instanceof Request ? input.url : input;
    const answer: Answer = {
      call: `${init?.method ?? 'GET'} ${new URL(url).pathname}`,
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: '',
    };
    answers.push(answer);
    // Whoever called reads the other copy, and learns there of its end or loss.
    void listen(response.clone(), answer).catch(() => {});
    return response;
  };
  return () => void (globalThis.fetch = original);
}

async function listen(response: Response, answer: Answer): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? [])
    answer.body += decoder.decode(bytes, { stream: true });
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
