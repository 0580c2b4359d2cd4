import {
  createOperatorKey,
  operatorAddress,
  readOperatorKey,
  signBinding,
  type OperatorKey,
} from '../crypto/operator.ts';
import { EnvelopeError } from '../crypto/errors.ts';
import { isNodeId } from '../protocol/ids.ts';
import { writeJson, type LocalContext } from './context.ts';
import { CliError, EXIT, usageError, type ExitCode } from './errors.ts';

/** A binding may end in ten years at most. */
const DAYS_MAX = 3_650;

export interface BindOptions {
  readonly keyFile: string;
  readonly days?: number;
  readonly chainId?: number;
}

/** `prlx operator new FILE`, `prlx account new FILE`: draws an account's key. */
export async function newOperator(
  { json, out, notes }: LocalContext,
  file: string,
): Promise<ExitCode> {
  const key = await createOperatorKey(file).catch((error: unknown) => {
    throw unusable(file, 'nothing was written', error);
  });
  const address = operatorAddress(key);
  if (json) writeJson(out, { address, file });
  else {
    out.write(`${address}\n`);
    notes.write(`Its key is in ${file}, and nowhere else: keep a copy of it where it is safe.\n`);
  }
  return EXIT.ok;
}

/** `prlx operator bind NODE --key-file FILE`: signs for a node; the JSON is what that presents. */
export async function bindNode(
  { json, out, notes }: LocalContext,
  nodeId: string,
  { keyFile: file, days = 365, chainId = 31_337 }: BindOptions,
): Promise<ExitCode> {
  if (!isNodeId(nodeId))
    throw usageError('A node is bound by its whole id, as it says itself: nd_ and 64 hex digits.');
  if (days < 1 || days > DAYS_MAX) throw usageError(`--days goes from 1 to ${DAYS_MAX}.`);
  if (chainId < 1) throw usageError('--chain-id is the number of a chain.');
  const key = await accountKey(file, 'prlx operator new');
  const expiresAt = Math.floor(Date.now() / 1_000) + days * 86_400;
  const binding = await signBinding(key, { chainId, nodeId, expiresAt });
  writeJson(out, binding);
  if (!json) {
    const until = new Date(expiresAt * 1_000).toISOString().slice(0, 10);
    notes.write(`${binding.operator} signs for ${nodeId} until ${until}, on chain ${chainId}.\n`);
  }
  return EXIT.ok;
}

/**
 * The private key in a file.
 *
 * @param maker the command that makes such files.
 * @throws CliError `cli.key_file_unusable`
 */
export async function accountKey(file: string, maker: string): Promise<OperatorKey> {
  const key = await readOperatorKey(file).catch((error: unknown) => {
    throw unusable(file, "can't be read", error);
  });
  if (key === undefined) throw unusable(file, `is not there; \`${maker}\` makes one`, undefined);
  return key;
}

function unusable(file: string, problem: string, cause: unknown): CliError {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  const message =
    cause instanceof EnvelopeError
      ? cause.message
      : `The key file ${file} ${problem}${code ? ` (${code})` : ''}.`;
  return new CliError(EXIT.usage, 'cli.key_file_unusable', message, { cause });
}
