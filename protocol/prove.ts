import { concat, hexToBytes, sha256 } from 'viem/utils';
import type { ErrorCode } from './errors.ts';
import { idBytes, type NodeId, type UnitId } from './ids.ts';

/** The launch commitment scheme (spec step 06). It travels with every proof. */
export const POE_SCHEME = 'poe.v1';

/**
 * The `poe.v1` commitment, SHA-256(unit_id ‖ result ‖ node_id), as 64 lower-case hex digits. The
 * ids are their 32 raw bytes; fixed-length ends make the plain concatenation injective.
 *
 * With its signature it proves that the holder of this node's key returned exactly this result for
 * exactly this unit. It does NOT prove that the result was computed honestly, by the model named
 * in it, or at all: sampled checks (step 07) are what makes cheating detectable. Nor does it hide
 * the result: whoever can guess a short result can confirm the guess.
 */
export function proofOfExecution(unitId: UnitId, resultBytes: Uint8Array, nodeId: NodeId): string {
  const message = concat([idBytes(unitId), resultBytes, idBytes(nodeId)]);
  return sha256(message).slice(2);
}

/** What the node signs: result ‖ poe, the commitment as its 32 raw bytes. */
export function signedMessage(resultBytes: Uint8Array, poe: string): Uint8Array {
  if (!isPoe(poe)) throw new TypeError('A PoE is 64 lower-case hex digits.');
  return concat([resultBytes, hexToBytes(`0x${poe}`)]);
}

/** Why a proof is refused, by the codes of docs/errors.md. */
export type ProofFault = Extract<
  ErrorCode,
  'poe.missing' | 'poe.unknown_scheme' | 'poe.malformed' | 'poe.hash_mismatch'
>;

/** The claim to check: `scheme` and `poe` as the node sent them, so of any type. */
export interface ProofClaim {
  readonly scheme: unknown;
  readonly poe: unknown;
  readonly unitId: UnitId;
  readonly resultBytes: Uint8Array;
  readonly nodeId: NodeId;
}

/**
 * Check 1 of spec step 07 without the signature, which `crypto/prove.ts` verifies: rebuilds the
 * commitment and compares. The ids are the coordinator's own, never those a node claims.
 */
export function checkProof(
  claim: ProofClaim,
): { readonly ok: true } | { readonly ok: false; readonly code: ProofFault } {
  const { scheme, poe, unitId, resultBytes, nodeId } = claim;
  if (isAbsent(poe)) return { ok: false, code: 'poe.missing' };
  if (scheme !== POE_SCHEME) return { ok: false, code: 'poe.unknown_scheme' };
  if (!isPoe(poe)) return { ok: false, code: 'poe.malformed' };
  if (proofOfExecution(unitId, resultBytes, nodeId) !== poe)
    return { ok: false, code: 'poe.hash_mismatch' };
  return { ok: true };
}

/** Whether a value is a PoE in its one canonical form, 64 lower-case hex digits. */
export function isPoe(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === '';
}
