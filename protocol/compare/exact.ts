import type { Comparator, Comparison } from './comparator.ts';

/**
 * Canonical bytes that have to be equal: for work on whole numbers and text, which gives the same
 * on any machine. `distance` is the number of bytes that differ or that one of them lacks.
 */
export const exactV1: Comparator<Uint8Array> = {
  name: 'exact',
  version: 1,
  equivalence: 'preferred',
  compare: compareBytes,
};

function compareBytes(a: Uint8Array, b: Uint8Array): Comparison {
  const shared = Math.min(a.length, b.length);
  let distance = Math.max(a.length, b.length) - shared;
  for (let index = 0; index < shared; index++) if (a[index] !== b[index]) distance++;
  if (distance === 0) return { agrees: true, distance };
  return { agrees: false, reason: a.length === b.length ? 'bytes' : 'length', distance };
}
