import { createInterface } from 'node:readline';
import { streamAnswer } from './answer.ts';
import { bodyFields, systemMessages, type ChatOptions, type Message } from './chat-body.ts';
import type { Context } from './context.ts';
import { CliError, EXIT, type ExitCode } from './errors.ts';
import { interruptible } from './interrupt.ts';
import { failureOf, footnote, settledRequest } from './request.ts';
import { safeText } from './terminal.ts';

const HELP = `  /new    forget the conversation and start another
  /exit   leave (Ctrl-D too)
  /help   show this
Ctrl-C cancels the answer that is coming; at the prompt it leaves.
`;

/** A conversation on a terminal: what was said before goes along with each message. */
export async function converse(context: Context, options: ChatOptions): Promise<ExitCode> {
  const { api, out } = context;
  const fields = await bodyFields(api, options);
  const { model } = fields as { model: string };
  out.write(out.style('dim', `${safeText(model)} at ${api.url}. /help shows the commands.\n`));
  const history: string[] = [];
  let messages: Message[] = systemMessages(options);
  for (;;) {
    const line = await readMessage(out.style('bold', 'you › '), history);
    if (line === 'interrupted') return EXIT.interrupted;
    const input = line?.text.trim();
    if (input === undefined || input === '/exit') return EXIT.ok;
    if (input === '') continue;
    if (input === '/new') {
      messages = systemMessages(options);
      out.write(out.style('dim', 'A new conversation.\n'));
    } else if (input === '/help') out.write(HELP);
    else if (input.startsWith('/'))
      out.write(out.style('yellow', `No such command: ${input}. /help shows them.\n`));
    else {
      const asked: Message[] = [...messages, { role: 'user', content: input }];
      const answer = await answered(context, { ...fields, messages: asked });
      // What has no answer isn't part of the conversation: it may be asked again.
      if (answer !== null) messages = [...asked, { role: 'assistant', content: answer }];
    }
  }
}

/** @returns the whole answer; null when it failed or was cancelled, which has been said then. */
async function answered({ api, out, notes }: Context, body: object): Promise<string | null> {
  const complain = (text: string) => notes.write(`${notes.style('red', text)}\n`);
  try {
    const answer = await interruptible(
      (cancel) => streamAnswer(api, body, (text) => out.write(text), cancel),
      () => out.write(out.style('dim', '\nCancelling …')),
    );
    out.write('\n');
    const request = await settledRequest(api, answer.requestId, (line) =>
      notes.write(`${notes.style('yellow', line)}\n`),
    );
    const failure = failureOf(answer, request);
    if (failure) complain(`${failure.message} (${failure.code})`);
    out.write(`${out.style('dim', footnote(request, answer.elapsedMs))}\n\n`);
    return failure ? null : answer.text;
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    complain(`${error.message} (${error.code})`);
    return null;
  }
}

/**
 * Reads one message. Lines that come at once, by pasting, are one message. Between messages nothing
 * reads the terminal, so that Ctrl-C is a signal while an answer comes.
 *
 * @param history earlier lines, latest first; this one is added.
 * @returns undefined at the end of input.
 */
function readMessage(
  prompt: string,
  history: string[],
): Promise<{ readonly text: string } | 'interrupted' | undefined> {
  const { stdin: input, stdout: output } = process;
  const reader = createInterface({ input, output, prompt, history: [...history] });
  const lines: string[] = [];
  return new Promise((resolve) => {
    reader.on('history', (entries) => history.splice(0, history.length, ...entries));
    reader.on('line', (line) => {
      if (lines.length === 0) setImmediate(() => reader.close());
      lines.push(line);
    });
    reader.on('SIGINT', () => {
      output.write('\n');
      resolve('interrupted');
      reader.close();
    });
    reader.on('close', () => {
      if (lines.length === 0) output.write('\n');
      resolve(lines.length === 0 ? undefined : { text: lines.join('\n') });
    });
    reader.prompt();
  });
}
