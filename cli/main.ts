import { CommanderError } from 'commander';
import { CliError, EXIT } from './errors.ts';
import { createProgram } from './program.ts';
import { safeJson, terminal, terminalOn } from './terminal.ts';

/**
 * Runs one command line.
 *
 * @param args what comes after `prlx`.
 * @returns the exit code, as docs/cli.md explains it.
 */
export async function main(args: readonly string[]): Promise<number> {
  // A reader that has seen enough, such as `head`, is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
  let code: number = EXIT.ok;
  try {
    const program = createProgram((exitCode) => (code = exitCode));
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (!(error instanceof CliError)) throw error;
    report(error, args.includes('--json'));
    return error.exitCode;
  }
}

function report({ code, message }: CliError, json: boolean): void {
  if (json) {
    terminal.write(`${safeJson({ error: { code, message } })}\n`);
    return;
  }
  const notes = terminalOn(process.stderr);
  notes.write(`${notes.style('red', `prlx: ${message}`)} ${notes.style('dim', `(${code})`)}\n`);
}
