import { Command, InvalidArgumentError, Option } from 'commander';
import type { ChatOptions } from './chat-body.ts';
import type { Context, GlobalOptions } from './context.ts';
import type { ExitCode } from './errors.ts';
import type { StatusOptions } from './status.ts';
import type { SubmitOptions } from './submit.ts';

/** What a command does; its module is loaded when it is called, so that `--help` is quick. */
type Run<Arguments extends unknown[]> = (context: Context, ...args: Arguments) => Promise<ExitCode>;

const HELP = `
Start here:
  npm start                              a network on this machine, in another terminal
  prlx chat "Why is the sky blue?"       one answer, as it is made
  prlx chat                              a conversation
  id=$(prlx submit "Tell me a story.")   a request that nobody waits for
  prlx status $id --watch                its nine steps, live
  prlx explain $id                       why it is where it is

Every id may be shortened to how it is shown: req_a3f10b77.

Environment:
  PLX_GATEWAY_URL   the gateway; http://127.0.0.1:8420 by default
  PLX_API_KEY       the key of your account
  PLX_DATA_DIR      where a running \`npm start\` leaves both, as client.json; .data by default
  NO_COLOR          no colours

Exit codes:
  0 done                 2 the command makes no sense      4 no such request, node or model
  1 the request failed   3 no gateway, or a wrong key    130 Ctrl-C

\`prlx COMMAND --help\` has examples for each. Codes of failures: docs/errors.md.
`;

const EXAMPLES = {
  chat: `
Examples:
  prlx chat "Why is the sky blue?" --max-tokens 64
  prlx chat --system "Answer in one sentence."
  cat letter.txt | prlx chat --temperature 0
  prlx chat "Hello!" --json | jq -r .result.choices[0].message.content

The answer goes to stdout; a line with id, node, tokens, cost and time to stderr. Text is shown as
it is made, and is final once that line comes. Ctrl-C cancels the request: what was shown is charged
and the rest is free; a second one leaves at once. In a conversation: /new, /exit, /help.
--json prints one object, the request with its result, once it has ended.
`,
  submit: `
Examples:
  prlx status $(prlx submit "Tell me a story.") --watch
  prlx submit "Tell me a story." --priority urgent --deadline 30 --wait
  prlx submit --file body.json           a body of POST /v1/requests; - is stdin
  prlx submit "Hello!" --wait --json | jq .charged_wei

stdout gets the id and nothing else; with --wait the steps go to stderr, and the exit code says
whether the request completed. Options change what a file says.
`,
  status: `
Examples:
  prlx status                            the latest requests of this account
  prlx status --status failed --limit 50
  prlx status req_a3f10b77               the nine steps, the proof, the bill and the answer
  prlx status req_a3f10b77 --watch       live, until it ends
  prlx status req_a3f10b77 --watch --json | jq -c .status

Steps 2 and 8 are skipped: an inference request is served whole. --watch exits with 0 if the request
completed, with 1 if it didn't. With --json it prints a line for each change.
`,
  cancel: `
Examples:
  prlx cancel req_a3f10b77

A cancelled request costs what was streamed of it, and nothing without a stream. Cancelling it again
changes nothing; one that has ended otherwise can't be cancelled (exit code 1).
`,
  nodes: `
Examples:
  prlx nodes                             all nodes, in the order in which they get work
  prlx nodes nd_4f7c01aa                 one of them; its name will do as well
  prlx nodes --json | jq '.data[] | select(.online) | .name'

Tier and speed are claims of the node. Flags count missed deadlines and faulty returns.
`,
  explain: `
Examples:
  prlx explain req_a3f10b77              its attempts, its place in the queue, and for each node the
                                         first filter of step 3 that fails
  prlx explain node-1                    why a node has no work now
`,
};

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

  const call = async <Arguments extends unknown[]>(
    command: Command,
    run: Run<Arguments>,
    ...args: Arguments
  ) => {
    const { openContext } = await import('./context.ts');
    done(await run(await openContext(command.optsWithGlobals<GlobalOptions>()), ...args));
  };

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
  return program;
}

type Call = <Arguments extends unknown[]>(
  command: Command,
  run: Run<Arguments>,
  ...args: Arguments
) => Promise<void>;

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
    .command('nodes')
    .description('the machines that execute')
    .argument('[node]', 'the id or the name of one')
    .addHelpText('after', EXAMPLES.nodes)
    .action(async (node: string | undefined, _options: object, command: Command) =>
      call(command, (await import('./nodes.ts')).nodes, node),
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
    .option('--tier <tier>', 'the least hardware tier, 1 to 5 (default: 1)', wholeNumber);
}

function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is not a whole number.');
  return Number(text);
}

function number(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It is not a number.');
  return Number(text);
}
