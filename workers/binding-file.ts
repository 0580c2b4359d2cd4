import { readFile } from 'node:fs/promises';
import { bindingSchema, type Binding } from '../protocol/binding.ts';
import type { NodeId } from '../protocol/ids.ts';
import { firstIssue } from '../protocol/issues.ts';
import { ConfigError } from './config.ts';

/**
 * The binding in a file, as `prlx operator bind` writes it. Whether its signature holds for this
 * node, the network finds out: only it knows for which chain.
 *
 * @throws ConfigError that says what is wrong, and how to sign for this node.
 */
export async function readBinding(path: string, nodeId: NodeId): Promise<Binding> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw unusable(path, nodeId, `can't be read (${error.code})`);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unusable(path, nodeId, 'is not JSON');
  }
  const parsed = bindingSchema.safeParse(value);
  if (!parsed.success) throw unusable(path, nodeId, `is no binding (${firstIssue(parsed.error)})`);
  const endedAtMs = parsed.data.expiresAt * 1_000;
  if (endedAtMs < Date.now()) throw unusable(path, nodeId, 'has ended');
  return parsed.data;
}

function unusable(path: string, nodeId: NodeId, problem: string): ConfigError {
  return new ConfigError(
    `PLX_OPERATOR_BINDING: ${path} ${problem}.\n` +
      `This node is ${nodeId}. Its operator signs for it by\n` +
      `  prlx operator bind ${nodeId} --key-file FILE > ${path}`,
  );
}
