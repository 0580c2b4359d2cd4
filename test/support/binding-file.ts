import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { signedBinding } from '../../bench/signed-binding.ts';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';

/** Has a test operator sign for the node with these keys. @returns the binding's file. */
export async function bindingFile(keysDirectory: string, operatorId: string): Promise<string> {
  const { nodeId } = await loadOrCreateNodeKeys(keysDirectory);
  const path = join(keysDirectory, 'operator-binding.json');
  await writeFile(path, JSON.stringify(await signedBinding(nodeId, operatorId)));
  return path;
}
