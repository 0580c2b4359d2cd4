import { join } from 'node:path';
import {
  createOperatorKey,
  operatorAddress,
  readOperatorKey,
  signBinding,
  type OperatorKey,
} from '../../crypto/operator.ts';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import type { Address, Binding } from '../../protocol/binding.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { hasCode, writeDurably } from './files.ts';

/** Of the development chain that embedded networks bind nodes for. */
export const CHAIN_ID = 31_337;
/** Bindings are signed anew at each start. */
const BINDING_SECONDS = 365 * 86_400;

/** An operator of an embedded network, whose key is drawn on first use. */
export async function embeddedOperator(
  keysDirectory: string,
  id: string,
): Promise<{ readonly id: string; readonly address: Address }> {
  return { id, address: operatorAddress(await keyOf(keysDirectory, id)) };
}

/** The demo account, whose private key is drawn on first use: its holder can sign in for keys. */
export async function demoAccount(keysDirectory: string): Promise<Address> {
  return operatorAddress(await readOrCreateKey(join(keysDirectory, 'demo-account')));
}

/** Signs for a node with its operator's key. */
async function operatorBinding(
  keysDirectory: string,
  operatorId: string,
  nodeId: NodeId,
): Promise<Binding> {
  const expiresAt = Math.floor(Date.now() / 1_000) + BINDING_SECONDS;
  const terms = { chainId: CHAIN_ID, nodeId, expiresAt };
  return signBinding(await keyOf(keysDirectory, operatorId), terms);
}

/**
 * Signs for an embedded node, whose keys are made if it has none yet.
 *
 * @returns the file of its binding, beside its keys.
 */
export async function bindEmbeddedNode(
  keysDirectory: string,
  { name, operator }: { readonly name: string; readonly operator: string },
): Promise<string> {
  const { nodeId } = await loadOrCreateNodeKeys(join(keysDirectory, name));
  const path = join(keysDirectory, name, 'operator-binding.json');
  const binding = await operatorBinding(keysDirectory, operator, nodeId);
  await writeDurably(path, `${JSON.stringify(binding)}\n`, 0o600);
  return path;
}

function keyOf(keysDirectory: string, id: string): Promise<OperatorKey> {
  return readOrCreateKey(join(keysDirectory, 'operators', id));
}

async function readOrCreateKey(path: string): Promise<OperatorKey> {
  const known = await readOperatorKey(path);
  if (known) return known;
  try {
    return await createOperatorKey(path);
  } catch (error) {
    // Another start was first.
    const drawn = hasCode(error, 'EEXIST') ? await readOperatorKey(path) : undefined;
    if (!drawn) throw error;
    return drawn;
  }
}
