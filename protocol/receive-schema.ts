import { z } from 'zod';
import { sealedRequestSchema, x25519KeySchema } from './envelope-schema.ts';
import {
  CHOICES_MAX,
  DEADLINE_SECONDS_MAX,
  FEATURES,
  HARDWARE_TIER_MAX,
  MAX_TOKENS_MAX,
  NAME,
  type Feature,
  type IntakeCall,
} from './receive.ts';

const parametersSchema = z
  .strictObject({
    // Which classes there are is for Receive to say: an unknown one has a code of its own.
    workloadClass: z.string().regex(NAME).max(100),
    model: z.string().regex(NAME),
    hardwareTier: z.int().min(1).max(HARDWARE_TIER_MAX),
    priority: z.enum(['standard', 'expedited', 'urgent']),
    deadlineSeconds: z.int().min(1).max(DEADLINE_SECONDS_MAX),
    maxTokens: z.int().min(1).max(MAX_TOKENS_MAX),
    stream: z.boolean(),
    seed: z.int().min(0).max(0xffff_ffff).nullable(),
    choices: z.int().min(2).max(CHOICES_MAX).optional(),
    features: z.array(z.enum(FEATURES)).min(1).max(FEATURES.length).optional(),
  })
  .refine(({ features = [] }) => isAscending(features), { path: ['features'] })
  // A node that can't do it would be blamed for what it returns.
  .refine(
    ({ choices, features = [] }) => (choices !== undefined) === features.includes('choices'),
    { path: ['choices'] },
  )
  .refine(({ choices = 1, maxTokens }) => choices * maxTokens <= MAX_TOKENS_MAX, {
    path: ['maxTokens'],
  })
  .refine(({ choices, stream }) => choices === undefined || !stream, { path: ['stream'] });

function isAscending(features: readonly Feature[]): boolean {
  return features.every((feature, index) => index === 0 || (features[index - 1] ?? '') < feature);
}

/** An intake call as it comes from a gateway; gateways are checked like everybody else. */
export const intakeCallSchema = z.strictObject({
  intakeKey: z.string().min(16).max(200),
  accountId: z.string().min(1).max(200),
  parameters: parametersSchema,
  delivery: z.enum(['early', 'validated', 'strict']).optional(),
  untilEnd: z.boolean().optional(),
  keyId: z.string().min(1).max(100).optional(),
  bodyDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  requesterKey: x25519KeySchema,
  envelope: sealedRequestSchema,
}) as unknown as z.ZodType<IntakeCall>;
