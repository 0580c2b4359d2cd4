import { Api } from './api.ts';
import { findConnection, type ConnectionOptions, type KeyKind } from './connection.ts';
import { safeJson, terminal, terminalOn, type Terminal } from './terminal.ts';

/** What a command works with that asks no gateway. */
export interface LocalContext {
  /** Whether stdout gets JSON and nothing else. */
  readonly json: boolean;
  /** Results, on stdout. */
  readonly out: Terminal;
  /** What is said beside them, on stderr. */
  readonly notes: Terminal;
}

/** What every other command works with. */
export interface Context extends LocalContext {
  readonly api: Api;
}

export interface GlobalOptions extends ConnectionOptions {
  readonly json?: boolean;
}

/** @throws CliError when there is no key. */
export async function openContext(options: GlobalOptions, kind: KeyKind): Promise<Context> {
  const api = new Api(await findConnection(options, process.env, kind));
  return { ...localContext(options), api };
}

export function localContext({ json = false }: GlobalOptions): LocalContext {
  return { json, out: terminal, notes: terminalOn(process.stderr) };
}

/** One JSON value, on one line. */
export function writeJson(out: Terminal, value: unknown): void {
  out.write(`${safeJson(value)}\n`);
}
