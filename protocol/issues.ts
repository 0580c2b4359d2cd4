import type { z } from 'zod';

/** The first thing that is wrong with a message: where, and what. */
export function firstIssue({ issues: [issue] }: z.ZodError): string {
  return `${issue?.path.join('.')}: ${issue?.message}`;
}
