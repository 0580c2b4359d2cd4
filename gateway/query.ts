import { z } from 'zod';
import { MalformedRequestError } from './errors.ts';

/** Of a route that takes no parameters besides its path. */
export const noParameters = z.strictObject({});

/**
 * Checks a query string, or another flat object of parameters.
 *
 * @param schema a strict object: what it doesn't name is refused by name.
 * @throws CodedError `receive.malformed_request`, with the field in `param`.
 */
export function parseQuery<Schema extends z.ZodType>(
  schema: Schema,
  query: unknown,
): z.infer<Schema> {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue?.code === 'unrecognized_keys')
    throw new MalformedRequestError(issue.keys[0] ?? '', 'no such parameter');
  throw new MalformedRequestError(issue?.path.join('.') ?? '', issue?.message ?? 'invalid');
}

/** Digits alone: a conversion would take an empty text for 0. */
export function wholeNumber(least: number, most: number) {
  return z
    .string()
    .regex(/^\d{1,10}$/, 'is not a whole number of up to 10 digits')
    .transform(Number)
    .pipe(z.int().min(least).max(most));
}

const FIRST_INSTANT = new Date('1970-01-01T00:00:00Z');
const END_OF_INSTANTS = new Date('2201-01-01T00:00:00Z');

/** A time in ISO 8601. Years that nobody means are refused: not all fit the database. */
export function instantOf<Text extends z.ZodType<string>>(text: Text) {
  return text
    .transform((each) => new Date(each))
    .refine(
      (time) => time >= FIRST_INSTANT && time < END_OF_INSTANTS,
      'is not in the years 1970 to 2200',
    );
}

/** How many entries a page has at most. */
export function limitParameter(usual: number, most: number) {
  return wholeNumber(1, most).default(usual);
}

/**
 * A page of a list, as OpenAI has it.
 *
 * @param rows one more than `limit` if there are more.
 */
export function listPage<Row, View extends { readonly id: string }>(
  rows: readonly Row[],
  limit: number,
  describe: (row: Row) => View,
) {
  const data = rows.slice(0, limit).map(describe);
  return {
    object: 'list' as const,
    data,
    first_id: data.at(0)?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: rows.length > limit,
  };
}
