import { z } from 'zod';

interface Length {
  readonly min?: number;
  readonly max?: number;
}

/**
 * A list that is looked at up to its first wrong element: zod's own describes each of them, which
 * takes much longer than reading a body does, and only the first is told.
 *
 * @param length how many elements; checked before they are.
 */
export function listOf<Element extends z.ZodType>(element: Element, { min, max }: Length = {}) {
  const any = z.array(z.unknown());
  const least = min === undefined ? any : any.min(min);
  const counted = max === undefined ? least : least.max(max);
  return counted.meta({ items: describe(element) }).transform((values, context) => {
    const list: z.output<Element>[] = [];
    for (const [index, value] of values.entries()) {
      const parsed = element.safeParse(value);
      if (!parsed.success) {
        context.issues.push(...issuesOf(parsed.error, index));
        // Not `z.NEVER`: zod hands it on to the next transform when the issue is an unknown member.
        return list;
      }
      list.push(parsed.data);
    }
    return list;
  });
}

/** Texts by name, looked at in the same way. */
export function textsByName() {
  return z
    .custom<Readonly<Record<string, unknown>>>(isObject)
    .meta({ type: 'object', additionalProperties: describe(z.string()) })
    .transform((texts, context) => {
      for (const [name, value] of Object.entries(texts)) {
        const parsed = z.string().safeParse(value);
        if (parsed.success) continue;
        context.issues.push(...issuesOf(parsed.error, name));
        break;
      }
      return texts as Record<string, string>;
    });
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** As OpenAPI tells it. */
function describe(schema: z.ZodType) {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

function issuesOf({ issues: [issue] }: z.ZodError, at: string | number) {
  if (!issue) return [];
  return [{ ...issue, path: [at, ...issue.path], input: undefined } as z.core.$ZodRawIssue];
}
