import { streamAnswer } from '../../cli/answer.ts';
import { Api } from '../../cli/api.ts';
import { CliError } from '../../cli/errors.ts';
import { settledRequest, summary } from '../../cli/request.ts';
import { render, stepLines } from '../../cli/steps.ts';
import { terminal, type Terminal } from '../../cli/terminal.ts';
import { EMBEDDED_MODEL_ID } from './model.ts';
import type { Network } from './network.ts';

/**
 * Sends one prompt through the gateway, as an app would, and shows everything that comes of it.
 *
 * @returns whether the request completed.
 */
export async function showRequest(
  { gatewayUrl, apiKey }: Pick<Network, 'gatewayUrl' | 'apiKey'>,
  prompt: string,
  maxTokens: number,
  out: Terminal = terminal,
): Promise<boolean> {
  const api = new Api({ url: gatewayUrl, key: apiKey });
  out.write(`${out.style('bold', 'Prompt')}   ${prompt}\n${out.style('bold', 'Answer')}   `);
  const body = {
    model: EMBEDDED_MODEL_ID,
    messages: [{ role: 'user', content: prompt }],
    max_tokens: maxTokens,
    // Greedy: so small a model is at its best then, and says the same every time.
    temperature: 0,
  };
  const write = (text: string) => out.write(text.replaceAll('\n', '\n         '));
  try {
    const answer = await streamAnswer(api, body, write, new AbortController().signal);
    const request = await settledRequest(api, answer.requestId);
    const time = `${answer.elapsedMs.toFixed(0)} ms from request to validated answer`;
    out.write(`\n\n${render(stepLines(request), out)}\n\n${summary(request, time, out)}\n`);
    if (answer.error)
      out.write(`${out.style('red', `${answer.error.code}: ${answer.error.message}`)}\n`);
    return request.status === 'completed' && !answer.error;
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    out.write(`\n${out.style('red', `${error.code}: ${error.message}`)}\n`);
    return false;
  }
}

/** How to call the network from elsewhere, ready to paste: what README.md has, for this network. */
export function snippets({ gatewayUrl, apiKey }: Pick<Network, 'gatewayUrl' | 'apiKey'>): string {
  return `
npx prlx chat

export OPENAI_BASE_URL=${gatewayUrl}/v1
export OPENAI_API_KEY=${apiKey}

curl -N $OPENAI_BASE_URL/chat/completions \\
  -H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' \\
  -d '{"model": "${EMBEDDED_MODEL_ID}", "stream": true,
       "messages": [{"role": "user", "content": "Hello!"}]}'

// TypeScript: npm install openai
import OpenAI from 'openai';

const stream = await new OpenAI().chat.completions.create({
  model: '${EMBEDDED_MODEL_ID}',
  messages: [{ role: 'user', content: 'Hello!' }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '');

# Python: pip install openai
from openai import OpenAI

stream = OpenAI().chat.completions.create(
    model="${EMBEDDED_MODEL_ID}",
    messages=[{"role": "user", "content": "Hello!"}],
    stream=True,
    extra_body={"priority": "urgent", "deadline_seconds": 60},
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
`;
}
