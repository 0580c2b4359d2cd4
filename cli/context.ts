import { Api } from './api.ts';
import { findConnection, type ConnectionOptions, type KeyKind } from './connection.ts';
import { safeJson, terminal, terminalOn, type Terminal } from './terminal.ts';

/** What every command works with. */
export interface Context {
  readonly api: Api;
  /** Whether stdout gets JSON and nothing else. */
  readonly json: boolean;
  /** Results, on stdout. */
  readonly out: Terminal;
  /** What is said beside them, on stderr. */
  readonly notes: Terminal;
}

export interface GlobalOptions extends ConnectionOptions {
  readonly json?: boolean;
}

/** @throws CliError when there is no key. */
export async function openContext(options: GlobalOptions, kind: KeyKind): Promise<Context> {
  return {
    api: new Api(await findConnection(options, process.env, kind)),
    json: options.json ?? false,
    out: terminal,
    notes: terminalOn(process.stderr),
  };
}

/** One JSON value, on one line. */
export function writeJson(out: Terminal, value: unknown): void {
  out.write(`${safeJson(value)}\n`);
}
