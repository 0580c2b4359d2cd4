import { streamAnswer } from './answer.ts';
import { bodyFields, readStdin, systemMessages, type ChatOptions } from './chat-body.ts';
import { writeJson, type Context } from './context.ts';
import { EXIT, usageError, type ExitCode } from './errors.ts';
import { interruptible } from './interrupt.ts';
import { failureOf, footnote, settledRequest } from './request.ts';

/** `prlx chat [prompt]`: one prompt, or a conversation when there is none and a terminal. */
export async function chat(
  context: Context,
  prompt: string | undefined,
  options: ChatOptions,
): Promise<ExitCode> {
  if (prompt === undefined && process.stdin.isTTY) {
    if (context.json) throw usageError('With --json, give the prompt as an argument or by stdin.');
    const { converse } = await import('./conversation.ts');
    return converse(context, options);
  }
  return answerOnce(context, prompt ?? (await readStdin()), options);
}

async function answerOnce(
  context: Context,
  prompt: string,
  options: ChatOptions,
): Promise<ExitCode> {
  const { api, json, out, notes } = context;
  const messages = [...systemMessages(options), { role: 'user', content: prompt }];
  const body = { ...(await bodyFields(api, options)), messages };
  let interrupted = false;
  const answer = await interruptible(
    (cancel) => streamAnswer(api, body, (text) => void (json || out.write(text)), cancel),
    () => {
      interrupted = true;
      notes.write(notes.style('dim', '\nCancelling … (Ctrl-C again leaves at once)\n'));
    },
  );
  const request = await settledRequest(api, answer.requestId, (line) =>
    notes.write(`${notes.style('yellow', line)}\n`),
  );
  const failure = failureOf(answer, request);
  if (json) writeJson(out, request);
  else {
    if (answer.text) out.write('\n');
    if (failure)
      notes.write(`${notes.style('red', `prlx: ${failure.message} (${failure.code})`)}\n`);
    notes.write(`${notes.style('dim', footnote(request, answer.elapsedMs))}\n`);
  }
  if (interrupted) return EXIT.interrupted;
  return failure ? EXIT.failed : EXIT.ok;
}
