import { keccak256, stringToBytes } from 'viem/utils';
import { operatorAddress, signBinding, type OperatorKey } from '../crypto/operator.ts';
import type { Address, Binding } from '../protocol/binding.ts';
import type { NodeId } from '../protocol/ids.ts';

/** That of a coordinator that isn't told another. */
export const CHAIN_ID = 31_337;
const BINDING_SECONDS = 86_400;

/** The account of an operator that exists for tests and benchmarks only: anybody has its key. */
export function testOperator(id: string): { readonly id: string; readonly address: Address } {
  return { id, address: operatorAddress(keyOf(id)) };
}

/** A binding of a node to such an operator, good for a day. @param changed of what is signed. */
export function signedBinding(
  nodeId: NodeId,
  operatorId: string,
  changed: { readonly chainId?: number; readonly expiresAt?: number } = {},
): Promise<Binding> {
  const expiresAt = Math.floor(Date.now() / 1_000) + BINDING_SECONDS;
  return signBinding(keyOf(operatorId), { chainId: CHAIN_ID, nodeId, expiresAt, ...changed });
}

function keyOf(operatorId: string): OperatorKey {
  return keccak256(stringToBytes(`plx-test-operator:${operatorId}`));
}
