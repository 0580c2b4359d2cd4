import { Option, type Command } from 'commander';
import { BUDGET_PERIODS } from '../protocol/keys.ts';
import { wholeNumber, type Call } from './commands.ts';
import { EXAMPLES } from './help.ts';
import type { NewKeyOptions } from './keys.ts';

/** `prlx keys` and what is below it. @param callWithoutKey for those who sign instead. */
export function keyCommands(program: Command, call: Call, callWithoutKey: Call): void {
  const keys = program
    .command('keys')
    .description("the account's API keys")
    .addHelpText('after', EXAMPLES.keys)
    .action(async (_options: object, command: Command) =>
      call(command, (await import('./keys.ts')).listKeys),
    );
  keys
    .command('list')
    .description('the same')
    .action(async (_options: object, command: Command) =>
      call(command, (await import('./keys.ts')).listKeys),
    );
  newKeyOptions(keys.command('new'))
    .description('make a key, by a signature or by the key in use')
    .action(async (options: NewKeyOptions, command: Command) => {
      const { newKey } = await import('./keys.ts');
      await (options.signWith === undefined ? call : callWithoutKey)(command, newKey, options);
    });
  keys
    .command('rotate')
    .description('give a key another secret')
    .argument('<id>', 'a key, by its id')
    .option('--overlap <seconds>', 'how long the former one is good, 0 to 86400', wholeNumber)
    .action(async (id: string, { overlap = 0 }: { overlap?: number }, command: Command) =>
      call(command, (await import('./keys.ts')).rotateKey, id, overlap),
    );
  keys
    .command('revoke')
    .description('end a key at once')
    .argument('<id>', 'a key, by its id')
    .action(async (id: string, _options: object, command: Command) =>
      call(command, (await import('./keys.ts')).revokeKey, id),
    );
}

function newKeyOptions(command: Command): Command {
  return command
    .requiredOption('--name <name>', 'what it is for')
    .option('--scope <scopes>', 'of inference, read, keys (default: inference,read)')
    .option('--days <count>', 'how long it is good (default: until it is revoked)', wholeNumber)
    .option('--budget <prlx>', 'what it may spend')
    .addOption(
      new Option('--period <period>', 'when its budget is there anew (default: month)').choices(
        BUDGET_PERIODS,
      ),
    )
    .option('--requests-per-minute <count>', 'at most', wholeNumber)
    .option('--tokens-per-minute <count>', 'at most', wholeNumber)
    .option('--concurrency <count>', 'requests at once, at most', wholeNumber)
    .option('--sign-with <file>', "the account's private key")
    .option('--chain-id <number>', 'the chain that is signed for (default: 31337)', wholeNumber);
}
