import type { Transaction } from '../prisma/client.ts';
import {
  BINDING_SECONDS_MAX,
  bindingSchema,
  bindingSigner,
  type Address,
  type Binding,
} from '../protocol/binding.ts';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { JoinPolicy } from './admission.ts';

/** Who signed for a node, and what. */
export interface Bound {
  readonly operator: Address;
  readonly binding: Binding;
}

/**
 * Whom a node belongs to, by its operator's signature.
 *
 * @param binding as the node sent it.
 * @throws CodedError `node.binding_invalid` for one that is absent, malformed, ended or endless, or
 * isn't signed by the operator that it names, for this node and this chain.
 */
export async function boundOperator(
  chainId: number,
  nodeId: NodeId,
  binding: unknown,
): Promise<Bound> {
  const parsed = bindingSchema.safeParse(binding);
  if (!parsed.success) throw invalid('It has none, or one that can not be read.');
  const secondsLeft = parsed.data.expiresAt - Date.now() / 1_000;
  if (secondsLeft < 0) throw invalid('It has ended.');
  if (secondsLeft > BINDING_SECONDS_MAX) throw invalid('It ends in more than ten years.');
  const operator = await bindingSigner(chainId, nodeId, parsed.data);
  if (operator) return { operator, binding: parsed.data };
  throw invalid(`It is not signed by its operator for ${nodeId} and chain ${chainId}.`);
}

/**
 * The account at an address; an open network opens one for whoever has none.
 *
 * @returns its id.
 * @throws CodedError `node.operator_unknown`
 */
export async function operatorAt(
  transaction: Transaction,
  address: Address,
  join: JoinPolicy,
): Promise<string> {
  if (join === 'open')
    await transaction.$executeRaw`
      INSERT INTO operator (id, name, address) VALUES (${address}, ${address}, ${address})
      ON CONFLICT DO NOTHING`;
  const [operator] = await transaction.$queryRaw<{ id: string }[]>`
    SELECT id FROM operator WHERE address = ${address}`;
  if (!operator) throw new CodedError('node.operator_unknown');
  return operator.id;
}

function invalid(detail: string): CodedError {
  return new CodedError('node.binding_invalid', detail);
}
