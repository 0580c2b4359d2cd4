import { InvalidArgumentError, type Command } from 'commander';
import type { Context, LocalContext } from './context.ts';
import type { ExitCode } from './errors.ts';

/** What a command does; its module is loaded when it is called, so that `--help` is quick. */
type Run<Arguments extends unknown[]> = (context: Context, ...args: Arguments) => Promise<ExitCode>;

/** Runs a command that asks the gateway. */
export type Call = <Arguments extends unknown[]>(
  command: Command,
  run: Run<Arguments>,
  ...args: Arguments
) => Promise<void>;

/** Runs a command that asks nobody. */
export type LocalCall = <Arguments extends unknown[]>(
  command: Command,
  run: (context: LocalContext, ...args: Arguments) => Promise<ExitCode>,
  ...args: Arguments
) => Promise<void>;

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is not a whole number.');
  return Number(text);
}

export function number(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It is not a number.');
  return Number(text);
}
