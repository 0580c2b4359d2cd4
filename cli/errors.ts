import { safeText } from './terminal.ts';

/** Exit codes of `prlx`; docs/cli.md explains them. */
export const EXIT = {
  ok: 0,
  /** The request failed, or the gateway refused it. */
  failed: 1,
  /** The command or its arguments make no sense. */
  usage: 2,
  /** No gateway answers, or it doesn't know the key. */
  unreachable: 3,
  notFound: 4,
  /** 128 + SIGINT. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface CliErrorOptions {
  readonly cause?: unknown;
  /** Default: false. */
  readonly isTransient?: boolean;
}

/**
 * A failure for people: the message says what happened and what to do. Much of it may be from
 * elsewhere, so message and code are made safe for a terminal.
 */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;
  /** Of docs/errors.md when the gateway said it, else one of the command line's own. */
  readonly code: string;

  /** Whether asking again may help: no gateway answers, or it says so by 503. */
  readonly isTransient: boolean;

  constructor(exitCode: ExitCode, code: string, message: string, options: CliErrorOptions = {}) {
    super(safeText(message), options);
    this.isTransient = options.isTransient ?? false;
    this.exitCode = exitCode;
    this.code = safeText(code);
  }
}

/** Arguments that make no sense together, or name nothing. */
export function usageError(message: string): CliError {
  return new CliError(EXIT.usage, 'cli.usage', message);
}
