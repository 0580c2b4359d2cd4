import { Command, Option } from 'commander';
import type { AuditOptions } from './audit.ts';
import type { ChatOptions } from './chat-body.ts';
import { number, wholeNumber, type Call, type LocalCall } from './commands.ts';
import type { GlobalOptions } from './context.ts';
import type { KeyKind } from './connection.ts';
import type { ExitCode } from './errors.ts';
import type { BindOptions } from './operator.ts';
import type { InviteOptions } from './join.ts';
import { keyCommands } from './keys-commands.ts';
import { EXAMPLES, HELP } from './help.ts';
import type { StatusOptions } from './status.ts';
import type { SubmitOptions } from './submit.ts';

/** The commands. @param done told the exit code of the one that ran. */
export function createProgram(done: (code: ExitCode) => void): Command {
  const program = new Command('prlx')
    .description('Ask the ParalleliX network, and see what became of it.')
    .option('--url <url>', 'the gateway (PLX_GATEWAY_URL)')
    .option('--key <key>', 'the API key (PLX_API_KEY); others on this machine may see it')
    .option('--json', 'JSON on stdout and nothing else')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('`prlx --help` explains the commands.')
    .exitOverride()
    .addHelpText('after', HELP);

  const callAs =
    (kind: KeyKind): Call =>
    async (command, run, ...args) => {
      const { openContext } = await import('./context.ts');
      const options = command.optsWithGlobals<GlobalOptions>();
      done(await run(await openContext(options, kind), ...args));
    };
  const call = callAs('account');

  chatOptions(program.command('chat'))
    .description('ask, and see the answer as it is made')
    .argument('[prompt]', 'without it a conversation, or the prompt from stdin')
    .addHelpText('after', EXAMPLES.chat)
    .action(async (prompt: string | undefined, options: ChatOptions, command: Command) =>
      call(command, (await import('./chat.ts')).chat, prompt, options),
    );
  chatOptions(program.command('submit'))
    .description('hand a request in, and get its id')
    .argument('[prompt]', 'without it the prompt comes from stdin, or the body from --file')
    .option('-f, --file <file>', 'a JSON body; - is stdin')
    .option('-w, --wait', 'wait until it has ended')
    .addHelpText('after', EXAMPLES.submit)
    .action(async (prompt: string | undefined, options: SubmitOptions, command: Command) =>
      call(command, (await import('./submit.ts')).submit, prompt, options),
    );
  inspectingCommands(program, call);
  nodeCommands(program, call, callAs('admin'));
  auditCommands(program, callAs('any'));
  keyCommands(program, call, callAs('none'));
  const callLocally: LocalCall = async (command, run, ...args) => {
    const { localContext } = await import('./context.ts');
    done(await run(localContext(command.optsWithGlobals<GlobalOptions>()), ...args));
  };
  operatorCommands(program, callLocally);
  accountCommands(program, callLocally);
  return program;
}

function inspectingCommands(program: Command, call: Call): void {
  program
    .command('status')
    .description('recent requests, or the nine steps of one')
    .argument('[id]', 'a request')
    .option('-w, --watch', 'live, until it has ended')
    .option('-n, --limit <count>', 'how many to list, 1 to 100 (default: 20)', wholeNumber)
    .option('-s, --status <status>', 'only those that are: accepted, running, completed, …')
    .option('--after <id>', 'only those before this request')
    .addHelpText('after', EXAMPLES.status)
    .action(async (id: string | undefined, options: StatusOptions, command: Command) =>
      call(command, (await import('./status.ts')).status, id, options),
    );
  program
    .command('cancel')
    .description('stop a request; only what was streamed is charged')
    .argument('<id>', 'a request')
    .addHelpText('after', EXAMPLES.cancel)
    .action(async (id: string, _options: object, command: Command) =>
      call(command, (await import('./cancel.ts')).cancel, id),
    );
  program
    .command('explain')
    .description('why a request is where it is, or why a node has no work')
    .argument('<id>', 'a request, or a node')
    .addHelpText('after', EXAMPLES.explain)
    .action(async (id: string, _options: object, command: Command) =>
      call(command, (await import('./explain.ts')).explain, id),
    );
}

function nodeCommands(program: Command, call: Call, callAsAdmin: Call): void {
  const nodes = program
    .command('nodes')
    .description('the machines that execute')
    .argument('[node]', 'the id or the name of one')
    .addHelpText('after', EXAMPLES.nodes)
    .action(async (node: string | undefined, _options: object, command: Command) =>
      call(command, (await import('./nodes.ts')).nodes, node),
    );
  nodes
    .command('review')
    .description('who was removed from the pool or flagged, and why (admin)')
    .argument('[node]', 'all that was written down of one')
    .action(async (node: string | undefined, _options: object, command: Command) =>
      callAsAdmin(command, (await import('./review.ts')).review, node),
    );
  nodes
    .command('reinstate')
    .description('let a removed node in again (admin)')
    .argument('<node>', 'its id or its name')
    .requiredOption('--reason <text>', 'why; it is kept')
    .action(async (node: string, { reason }: { reason: string }, command: Command) =>
      callAsAdmin(command, (await import('./review.ts')).reinstate, node, reason),
    );
  nodes
    .command('invite')
    .description("make a join token, for a network that isn't open (admin)")
    .option('--uses <count>', 'how many nodes it lets in (default: 1)', wholeNumber)
    .option('--hours <count>', 'how long (default: 24)', wholeNumber)
    .action(async (options: InviteOptions, command: Command) =>
      callAsAdmin(command, (await import('./join.ts')).invite, options),
    );
  nodes
    .command('invites')
    .description('the join tokens that still let somebody in (admin)')
    .option('--end <id>', 'one that lets nobody in from now on')
    .action(async (options: { end?: string }, command: Command) =>
      callAsAdmin(command, (await import('./join.ts')).invites, options),
    );
}

/** They ask nobody: keys stay where they are. */
function operatorCommands(program: Command, call: LocalCall): void {
  const operator = program
    .command('operator')
    .description('sign for the nodes that are yours')
    .addHelpText('after', EXAMPLES.operator);
  operator
    .command('new')
    .description('make an account: its key goes to a file, its address to stdout')
    .argument('<file>', 'where nothing is yet')
    .action(async (file: string, _options: object, command: Command) =>
      call(command, (await import('./operator.ts')).newOperator, file),
    );
  operator
    .command('bind')
    .description('sign for a node; the JSON on stdout is what its PLX_OPERATOR_BINDING names')
    .argument('<node>', 'its whole id')
    .requiredOption('--key-file <file>', "the account's private key")
    .option('--days <count>', 'how long the node may register with it (default: 365)', wholeNumber)
    .option('--chain-id <number>', 'the chain of the network (default: 31337)', wholeNumber)
    .action(async (node: string, options: BindOptions, command: Command) =>
      call(command, (await import('./operator.ts')).bindNode, node, options),
    );
}

/** The same account as an operator's may make keys; who has no nodes looks for it here. */
function accountCommands(program: Command, call: LocalCall): void {
  program
    .command('account')
    .description('whom API keys belong to')
    .command('new')
    .description('make an account: its key goes to a file, its address to stdout')
    .argument('<file>', 'where nothing is yet')
    .action(async (file: string, _options: object, command: Command) =>
      call(command, (await import('./operator.ts')).newOperator, file),
    );
}

function auditCommands(program: Command, call: Call): void {
  program
    .command('audit')
    .description('recompute what the network says of itself')
    .addHelpText('after', EXAMPLES.audit)
    .command('sampling')
    .description('recompute which requests were drawn to be checked')
    .option('-e, --epoch <number>', 'one epoch (default: all that are revealed)', wholeNumber)
    .action(async (options: AuditOptions, command: Command) =>
      call(command, (await import('./audit.ts')).auditSampling, options),
    );
}

/** Options of a chat request. Their bounds are the gateway's to check. */
function chatOptions(command: Command): Command {
  return command
    .option('-m, --model <model>', 'the model (default: the first that is served)')
    .option('--max-tokens <count>', 'the most tokens to produce (default: 256)', wholeNumber)
    .option('--temperature <number>', '0 always takes the likeliest token (default: 1)', number)
    .option('--seed <number>', 'the same seed, model and engine give the same text', wholeNumber)
    .option('--system <text>', 'a system message')
    .option('--deadline <seconds>', '1 to 86400 (default: 120)', wholeNumber)
    .addOption(
      new Option('--priority <priority>', 'place in the queue (default: standard)').choices([
        'standard',
        'expedited',
        'urgent',
      ]),
    )
    .option('--tier <tier>', 'the least hardware tier, 1 to 5 (default: 1)', wholeNumber)
    .addOption(
      new Option('--delivery <delivery>', 'when the text comes: see docs/api.md').choices([
        'early',
        'validated',
        'strict',
      ]),
    );
}
