import { hashTypedData, recoverAddress } from 'viem/utils';
import { z } from 'zod';
import type { NodeId } from './ids.ts';

/** An Ethereum address in lower case, the one form in which addresses are stored and compared. */
export type Address = `0x${string}`;

/**
 * An operator's word that a node is its own: an EIP-712 signature by the key of its account. It
 * says whose the node is, and nothing of what the node does.
 */
export interface Binding {
  /** The account that signed: an address, in whatever case. */
  readonly operator: Address;
  /** Until when it may be used to register, in Unix seconds. */
  readonly expiresAt: number;
  /** r ‖ s ‖ v as 65 bytes in hex; s in the lower half of its range, v 27 or 28. */
  readonly signature: `0x${string}`;
}

/** So far ahead a binding may end at most: ten years, with their leap days. */
export const BINDING_SECONDS_MAX = 3_653 * 86_400;

/** A binding as it comes from outside; whether it holds, `bindingSigner` says. */
export const bindingSchema: z.ZodType<Binding> = z.strictObject({
  operator: z.templateLiteral(['0x', z.string().regex(/^[0-9a-fA-F]{40}$/)]),
  expiresAt: z.int().min(1),
  signature: z.templateLiteral(['0x', z.string().regex(/^[0-9a-fA-F]{130}$/)]),
});

/** Half the order of secp256k1's group: for each signature with a higher s there is a lower one. */
const S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

/** What an operator signs, as `eth_signTypedData_v4` and viem take it. */
export function bindingTypedData(
  chainId: number,
  nodeId: NodeId,
  { operator, expiresAt }: Pick<Binding, 'operator' | 'expiresAt'>,
) {
  return {
    domain: { name: 'ParalleliX', version: '1', chainId },
    types: {
      NodeBinding: [
        { name: 'operator', type: 'address' },
        { name: 'nodeId', type: 'bytes32' },
        { name: 'expiresAt', type: 'uint64' },
      ],
    },
    primaryType: 'NodeBinding',
    message: {
      // A checksum in it is of no use here, and a wrong one would be refused.
      operator: operator.toLowerCase() as Address,
      nodeId: `0x${nodeId.slice(3)}`,
      expiresAt: BigInt(expiresAt),
    },
  } as const;
}

/**
 * The account that bound a node. Only externally owned accounts can sign: a contract's word would
 * have to be asked for on its chain.
 *
 * Each binding has one signature in one form: an s in the upper half, which anybody can make of
 * one in the lower half, is refused (EIP-2), and so is any v but 27 and 28.
 *
 * @returns its address in lower case; null if the binding is malformed, or signed by anybody but
 * the operator that it names. Whether it has ended the caller has to look at.
 */
export async function bindingSigner(
  chainId: number,
  nodeId: NodeId,
  binding: unknown,
): Promise<Address | null> {
  const parsed = bindingSchema.safeParse(binding);
  if (!parsed.success) return null;
  const { operator, signature } = parsed.data;
  if (!isCanonicalSignature(signature)) return null;
  try {
    const hash = hashTypedData(bindingTypedData(chainId, nodeId, parsed.data));
    const signer = (await recoverAddress({ hash, signature })).toLowerCase() as Address;
    return signer === operator.toLowerCase() ? signer : null;
  } catch {
    // Not every pair of numbers is a signature.
    return null;
  }
}

/** Whether it is 65 bytes in hex, and in the one form that a signature has. */
export function isCanonicalSignature(signature: string): signature is `0x${string}` {
  if (!/^0x[0-9a-f]{130}$/i.test(signature)) return false;
  const s = BigInt(`0x${signature.slice(66, 130)}`);
  return s <= S_MAX && /^(1b|1c)$/i.test(signature.slice(130));
}
