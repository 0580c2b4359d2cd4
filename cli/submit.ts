import {
  bodyFields,
  givenFields,
  readBody,
  readStdin,
  systemMessages,
  type ChatOptions,
} from './chat-body.ts';
import { writeJson, type Context } from './context.ts';
import { EXIT, usageError, type ExitCode } from './errors.ts';
import { safeText } from './terminal.ts';
import { watchRequest } from './watch.ts';

export interface SubmitOptions extends ChatOptions {
  readonly file?: string;
  readonly wait?: boolean;
}

/** `prlx submit [prompt]`: prints the id at once; stdout holds nothing else. */
export async function submit(
  context: Context,
  prompt: string | undefined,
  options: SubmitOptions,
): Promise<ExitCode> {
  const { api, json, out } = context;
  const body = await requestBody(context, prompt, options);
  const accepted = await api.post<{ readonly id: string }>('/v1/requests', body);
  if (!json) out.write(`${safeText(accepted.id)}\n`);
  else if (!options.wait) writeJson(out, accepted);
  if (!options.wait) return EXIT.ok;
  const request = await watchRequest({ ...context, out: context.notes }, accepted.id, {
    stream: process.stderr,
    silent: json,
  });
  if (json) writeJson(out, request);
  return request.status === 'completed' ? EXIT.ok : EXIT.failed;
}

async function requestBody(
  { api }: Context,
  prompt: string | undefined,
  options: SubmitOptions,
): Promise<object> {
  if (options.file !== undefined) {
    if (prompt !== undefined || options.system !== undefined)
      throw usageError('--file holds the messages: leave the prompt and --system out.');
    return { ...(await readBody(options.file)), ...givenFields(options) };
  }
  if (prompt === undefined && process.stdin.isTTY)
    throw usageError('There is no prompt: give it as an argument, by stdin, or with --file.');
  const content = prompt ?? (await readStdin());
  const messages = [...systemMessages(options), { role: 'user', content }];
  return { ...(await bodyFields(api, options)), messages };
}
