import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { z } from 'zod';

/** What no route may take, and how it is sent. */
export interface BadBody {
  readonly name: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

type Example = Readonly<Record<string, unknown>>;

const utf8 = (text: string) => new TextEncoder().encode(text);
const bytes = (...values: number[]) => Uint8Array.from(values);
const joined = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

/** By hand: each spoils a body that the route would take. */
export function spoiltBodies(example: Example): BadBody[] {
  const good = JSON.stringify(example);
  const open = good.slice(0, -1);
  const comma = open === '{' ? '' : ',';
  const member = (text: string) => `${open}${comma}${text}}`;
  const bodies: [name: string, body: string | Uint8Array, headers?: Record<string, string>][] = [
    ['arrays, 100,000 deep', '['.repeat(100_000)],
    ['closed arrays, 100,000 deep', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['objects, 100,000 deep', '{"a":'.repeat(100_000) + '1' + '}'.repeat(100_000)],
    ['a member 100,000 deep', member(`"x":${'['.repeat(100_000)}${']'.repeat(100_000)}`)],
    ['100,000 members', member(Array.from({ length: 100_000 }, (_, i) => `"k${i}":0`).join())],
    ['100,000 values', `[${'0,'.repeat(99_999)}0]`],
    ['1e999', member('"x":1e999')],
    ['400 digits', member(`"x":${'9'.repeat(400)}`)],
    ['a long fraction', member(`"x":0.${'1'.repeat(100_000)}`)],
    ['NaN', member('"x":NaN')],
    ['Infinity', member('"x":-Infinity')],
    ['a hexadecimal number', member('"x":0x10')],
    ['a leading zero', member('"x":01')],
    ['an escaped NUL', member('"x":"\\u0000"')],
    ['an escaped NUL in a key', member('"\\u0000":1')],
    ['a raw NUL', `${good}\0`],
    ['a raw NUL in a text', member('"x":"\0"')],
    ['a raw newline in a text', member('"x":"\n"')],
    ['a lone surrogate', member('"x":"\\ud800"')],
    ['a lone low surrogate in a key', member('"\\udc00":1')],
    ['surrogates the wrong way round', member('"x":"\\udc00\\ud800"')],
    ['a byte that no UTF-8 has', joined(utf8(open), bytes(0xff), utf8('}'))],
    ['an overlong encoding', joined(utf8(`${open}${comma}"x":"`), bytes(0xc0, 0xaf), utf8('"}'))],
    ['a surrogate in UTF-8', joined(utf8('{"x":"'), bytes(0xed, 0xa0, 0x80), utf8('"}'))],
    ['a text cut in a character', joined(utf8('{"x":"'), bytes(0xe2, 0x82))],
    ['a byte order mark', joined(bytes(0xef, 0xbb, 0xbf), utf8(good))],
    ['UTF-16', Uint8Array.from(Buffer.from(good, 'utf16le'))],
    ['a key twice', member('"x":1,"x":2')],
    ['a key twice, once escaped', member('"x":1,"\\u0078":1')],
    ['a key twice, deep down', member('"x":[{"y":{"z":1,"z":1}}]')],
    ['__proto__', member('"__proto__":{"isAdmin":true}')],
    ['__proto__, escaped', member('"__pr\\u006fto__":{}')],
    ['__proto__, deep down', member('"x":{"__proto__":null}')],
    ['constructor', member('"constructor":{"prototype":{"isAdmin":true}}')],
    ['toString', member('"toString":"x"')],
    ['an unknown member', member('"no_such_member":1')],
    ['a very long unknown member', member(`"${'k'.repeat(200_000)}":1`)],
    ['an empty key', member('"":1')],
    ['an array', `[${good}]`],
    ['null', 'null'],
    ['true', 'true'],
    ['a number', '1'],
    ['a text', JSON.stringify(good)],
    ['a trailing comma', `${good.slice(0, -1)},}`],
    ['a comment', `/* x */${good}`],
    ['single quotes', `{'x':1}`],
    ['no quotes', '{x:1}'],
    ['two bodies', `${good}${good}`],
    ['half a body', `${good.slice(0, -1)}`],
    ['only an opening brace', '{'],
    ['an unterminated text', '{"'],
    ['a text that ends with a backslash', '{"x":"\\'],
    ['an unknown escape', member('"x":"\\q"')],
    ['only spaces', ' '.repeat(1_000)],
    ['a form', 'a=1&b=2', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['text/plain', good, { 'content-type': 'text/plain' }],
    ['XML', '<a/>', { 'content-type': 'application/xml' }],
    ['a type that is none', good, { 'content-type': 'json' }],
    ['multipart', '--x--', { 'content-type': 'multipart/form-data; boundary=x' }],
    ['UTF-16 by its type', good, { 'content-type': 'application/json; charset=utf-16' }],
    ['gzip', new Uint8Array(gzipSync(good)), { 'content-encoding': 'gzip' }],
    ['what claims to be gzip', good, { 'content-encoding': 'gzip' }],
    ['deflate', good, { 'content-encoding': 'deflate, gzip' }],
    ['1.1 MB of text', member(`"x":"${'x'.repeat(1_100_000)}"`)],
    ['1 MB of spaces', ' '.repeat(1_048_576)],
    ['1 MB of quotes', '"'.repeat(1_048_576)],
    ['1 MB of backslashes', `"${'\\'.repeat(1_000_000)}`],
  ];
  return bodies.map(([name, body, headers]) => ({ name, body, ...(headers ? { headers } : {}) }));
}

const VALUES: readonly unknown[] = [
  ...[null, true, false, '', ' ', 'x', [], {}, [[]], [{}], [null], { x: 1 }, -1, 0, 0.5, 1e308],
  ...[2 ** 53, 2 ** 31, -0, 'a'.repeat(1_000), 'ä\u2028', '../../etc/passwd', "'; DROP TABLE x"],
  ...['1', 'true', 'null', ['x', 'x'], { length: 1 }, { then: 'x' }],
];

/**
 * Drawn by fast-check from the schema that checks the route's bodies: some of its members get
 * values that they don't take, go missing, or have company. What the schema takes after all is left
 * out.
 *
 * @param count how many, all different.
 */
export function drawnBodies(schema: z.ZodType, example: Example, count: number): BadBody[] {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const names = [...Object.keys(properties), 'extra'];
  const value = fc.oneof(fc.constantFrom(...VALUES), fc.jsonValue({ maxDepth: 3 }));
  const change = fc.tuple(fc.constantFrom(...names), fc.option(value, { nil: undefined }));
  const spoilt = fc.oneof(
    { weight: 9, arbitrary: fc.array(change, { minLength: 1, maxLength: 3 }).map(changed) },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) },
  );
  const bodies = new Set<string>();
  const isBad = (body: unknown) => !schema.safeParse(JSON.parse(JSON.stringify(body))).success;
  for (let seed = 1; bodies.size < count; seed++)
    for (const body of fc.sample(spoilt.filter(isBad), { seed, numRuns: count }))
      if (bodies.size < count) bodies.add(JSON.stringify(body));
  return [...bodies].map((body) => ({ name: body.slice(0, 200), body }));

  function changed(changes: readonly (readonly [string, unknown])[]): unknown {
    return { ...example, ...Object.fromEntries(changes) };
  }
}
