import { z } from 'zod';
import { parseCanonical } from '../protocol/canonical.ts';

/** The sealed payload of class `ai.inference`, as canonical JSON. */
const payloadSchema = z.strictObject({
  messages: z
    .array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() }))
    .min(1),
  temperature: z.number(),
  topP: z.number(),
  stop: z.array(z.string()),
});

export type InferencePayload = z.infer<typeof payloadSchema>;

/** @throws Error when the bytes aren't a payload of the class; the message quotes none of it. */
export function parsePayload(bytes: Uint8Array): InferencePayload {
  const parsed = payloadSchema.safeParse(parseCanonical(bytes));
  if (parsed.success) return parsed.data;
  throw new Error('the payload has not the shape of its workload class');
}
