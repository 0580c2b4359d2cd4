import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CliError, EXIT } from './errors.ts';

/** Where the gateway is, and what to present to it. */
export interface Connection {
  /** Without a trailing slash. */
  readonly url: string;
  /** None for what is asked without one. */
  readonly key: string | undefined;
}

export interface ConnectionOptions {
  readonly url?: string;
  readonly key?: string;
}

/**
 * Whose key a command presents: an account's, an admin's, an admin's where there is one, or no key.
 */
export type KeyKind = 'account' | 'admin' | 'any' | 'none';

interface ClientFile {
  readonly url: string;
  readonly keys: { readonly account: string; readonly admin: string | undefined };
}

const URL_DEFAULT = 'http://127.0.0.1:8420';
const ROOT = dirname(import.meta.dirname);

/**
 * The connection from the options, else the environment, else the file that a running `npm start`
 * leaves in its data directory. The file's keys go to the file's gateway and to no other.
 *
 * @throws CliError that says what to do when there is no key, or the URL is none.
 */
export async function findConnection(
  options: ConnectionOptions,
  env: NodeJS.ProcessEnv = process.env,
  kind: KeyKind = 'account',
): Promise<Connection> {
  const givenUrl = options.url ?? env['PLX_GATEWAY_URL'];
  if (kind === 'none') {
    const local = givenUrl ? undefined : await readClientFile(clientFile(env));
    return { url: withoutSlash(givenUrl ?? local?.url ?? URL_DEFAULT), key: undefined };
  }
  const givenAdminKey = kind === 'account' ? undefined : env['PLX_ADMIN_KEY'];
  const givenKey =
    options.key ?? givenAdminKey ?? (kind === 'admin' ? undefined : env['PLX_API_KEY']);
  const file = clientFile(env);
  const local = givenUrl && givenKey ? undefined : await readClientFile(file);
  const url = withoutSlash(givenUrl ?? local?.url ?? URL_DEFAULT);
  const key = givenKey ?? (local?.url === url ? keyOf(local, kind) : undefined);
  if (!key) throw noKey(url, kind, file, local);
  return { url, key };
}

function keyOf({ keys }: ClientFile, kind: KeyKind): string | undefined {
  if (kind === 'account') return keys.account;
  return kind === 'admin' ? keys.admin : (keys.admin ?? keys.account);
}

function noKey(url: string, kind: KeyKind, file: string, local: ClientFile | undefined): CliError {
  const isAdmin = kind === 'admin';
  const has = local?.url === url ? 'has none' : local && `is for ${local.url}`;
  return new CliError(
    EXIT.unreachable,
    isAdmin ? 'cli.no_admin_key' : 'cli.no_api_key',
    `No ${isAdmin ? 'admin' : 'API'} key for ${url}: neither --key nor ` +
      `${isAdmin ? 'PLX_ADMIN_KEY' : 'PLX_API_KEY'} is set, and ${file} ` +
      `${has ?? "doesn't exist"}.\n` +
      'Start a network on this machine (`npm start`, in another terminal), or pass a key.',
  );
}

/** A relative data directory is the checkout's, as it is for `npm start`. */
function clientFile(env: NodeJS.ProcessEnv): string {
  return join(resolve(ROOT, env['PLX_DATA_DIR'] ?? '.data'), 'client.json');
}

async function readClientFile(file: string): Promise<ClientFile | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unreadable(file, error);
  }
  try {
    const { gatewayUrl, apiKey, adminKey } = JSON.parse(text) as Record<string, string | undefined>;
    if (!gatewayUrl || !apiKey) throw new Error('it lacks the gateway or its key');
    return { url: withoutSlash(gatewayUrl), keys: { account: apiKey, admin: adminKey } };
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, cause: unknown): CliError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const message = `${file} can't be read: ${reason}\nRestart \`npm start\`, which writes it anew.`;
  return new CliError(EXIT.unreachable, 'cli.client_file_unreadable', message, { cause });
}

function withoutSlash(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text))
    throw new CliError(
      EXIT.usage,
      'cli.usage',
      `${JSON.stringify(text)} is not the URL of a gateway. It looks like ${URL_DEFAULT}.`,
    );
  return text.replace(/\/+$/, '').replace(/\/v1$/, '');
}
