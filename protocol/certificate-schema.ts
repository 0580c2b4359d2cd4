import { z } from 'zod';

const pem = z.string().max(64 * 1024);

/** A certificate as a node or an edge gets it, and what it needs beside it. */
export const certificateAnswerSchema = z.object({
  certificate: pem,
  /** All CAs of the network, also one that will issue next: whom to trust from now on. */
  ca: pem,
  expiresAt: z.iso.datetime(),
  /** At two thirds of its life. */
  renewAt: z.iso.datetime(),
});

export type CertificateAnswer = z.infer<typeof certificateAnswerSchema>;

/**
 * For how long a certificate that has just been issued serves before it is renewed, in ms: two
 * thirds of its life, by the issuer's clock alone.
 */
export function renewAfterMs({ expiresAt, renewAt }: CertificateAnswer): number {
  return 2 * Math.max(0, Date.parse(expiresAt) - Date.parse(renewAt));
}
