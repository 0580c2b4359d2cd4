import { stripVTControlCharacters, styleText } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { STEPS, type StepName } from '../../protocol/lifecycle.ts';
import { LineSplitter } from '../../protocol/lines.ts';
import { EMBEDDED_MODEL_ID, type Network } from './network.ts';

type Format = Parameters<typeof styleText>[0];

/** What `GET /v1/requests/{id}` says, as far as the terminal shows it. */
interface RequestView {
  readonly id: string;
  readonly status: string;
  readonly finished_at: string | null;
  readonly reserved_wei: string;
  readonly charged_wei: string;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly steps?: readonly {
    readonly step: StepName;
    readonly plane: string;
    readonly state: string;
    readonly elapsed_ms: number | null;
    readonly dispatch?: number;
    readonly node?: string;
    readonly note?: string;
  }[];
  readonly proof_of_execution: { readonly poe: string; readonly node: string } | null;
  readonly temporal_url: string | null;
}

const SETTLE_MS_MAX = 10_000;
const POLL_MS = 50;

/** Where the terminal's text goes; colours only where they are shown. */
export interface Terminal {
  write(text: string): void;
  style(format: Format, text: string): string;
}

export const terminal: Terminal = {
  write: (text) => void process.stdout.write(text),
  style: (format, text) =>
    process.stdout.isTTY && !process.env['NO_COLOR'] ? styleText(format, text) : text,
};

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
  out.write(`${out.style('bold', 'Prompt')}   ${prompt}\n${out.style('bold', 'Answer')}   `);
  const startedAt = performance.now();
  const response = await fetch(`${gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: EMBEDDED_MODEL_ID,
      messages: [{ role: 'user', content: prompt }],
      max_tokens: maxTokens,
      // Greedy: so small a model is at its best then, and says the same every time.
      temperature: 0,
      stream: true,
    }),
  });
  if (!response.ok || !response.body) {
    out.write(`\n${out.style('red', await response.text())}\n`);
    return false;
  }
  const error = await showStream(response.body, out);
  const totalMs = performance.now() - startedAt;
  const id = response.headers.get('x-request-id') ?? '';
  const request = await finished(gatewayUrl, apiKey, id);
  out.write(`\n\n${stepTable(request, out)}\n\n${summary(request, totalMs, out)}\n`);
  if (error) out.write(`${out.style('red', error)}\n`);
  return request.status === 'completed' && !error;
}

/** Prints the text as it comes. @returns the error that ended the stream, if one did. */
async function showStream(
  body: ReadableStream<Uint8Array>,
  out: Terminal,
): Promise<string | undefined> {
  const splitter = new LineSplitter();
  let error: string | undefined;
  const decoder = new TextDecoder();
  for await (const bytes of body) {
    for (const line of splitter.push(decoder.decode(bytes, { stream: true }))) {
      if (!line.startsWith('data: {')) continue;
      const data = JSON.parse(line.slice('data: '.length)) as {
        choices?: { delta?: { content?: string } }[];
        error?: { message: string; code: string };
      };
      // What a model says must not steer the terminal.
      const text = data.choices?.[0]?.delta?.content ?? '';
      out.write(stripVTControlCharacters(text).replaceAll('\n', '\n         '));
      if (data.error) error = `${data.error.code}: ${data.error.message}`;
    }
  }
  return error;
}

/** The answer comes with Validate; Settle follows in a moment. */
async function finished(gatewayUrl: string, apiKey: string, id: string): Promise<RequestView> {
  const untilMs = Date.now() + SETTLE_MS_MAX;
  for (;;) {
    const response = await fetch(`${gatewayUrl}/v1/requests/${id}`, {
      headers: { authorization: `Bearer ${apiKey}` },
    });
    const view = (await response.json()) as RequestView;
    if (view.finished_at !== null || Date.now() > untilMs) return view;
    await sleep(POLL_MS);
  }
}

/** The nine steps, in canonical order; attempts that were lost come before their step's last. */
function stepTable(request: RequestView, out: Terminal): string {
  const head = row('#', 'step', 'plane', 'result', 'ms');
  const lines = STEPS.flatMap(({ number, name, title, plane }) => {
    const records = request.steps?.filter(({ step }) => step === name) ?? [];
    if (records.length === 0) return [row(String(number), title, plane, 'pending', '')];
    return records.map(({ state, note, node, elapsed_ms, dispatch }) => {
      const where = node ? ` on ${node.slice(0, 11)}` : '';
      const again = (dispatch ?? 1) > 1 ? ` (attempt ${dispatch})` : '';
      const result = `${state}${note ? `: ${note}` : ''}${where}${again}`;
      const line = row(String(number), title, plane, result, elapsed_ms?.toFixed(1) ?? '');
      return out.style(state === 'skipped' ? 'dim' : state === 'failed' ? 'red' : 'green', line);
    });
  });
  return [out.style('bold', head), ...lines].join('\n');
}

function row(number: string, title: string, plane: string, result: string, ms: string): string {
  return [
    number.padStart(2),
    title.padEnd(19),
    plane.padEnd(13),
    result.padEnd(34),
    ms.padStart(9),
  ].join('  ');
}

function summary(request: RequestView, totalMs: number, out: Terminal): string {
  const { proof_of_execution: proof } = request;
  const lines: [string, string][] = [
    ['Request', request.id],
    ['Status', `${request.status}${request.error ? ` (${request.error.code})` : ''}`],
    ['Node', proof?.node ?? 'none'],
    ['PoE', proof?.poe ?? 'none'],
    ['', 'poe.v1: it shows who returned what, not that it is right'],
    ['Charged', `${request.charged_wei} of ${request.reserved_wei} wei reserved`],
    ['Time', `${totalMs.toFixed(0)} ms from request to validated answer`],
    ['Temporal', request.temporal_url ?? 'none'],
  ];
  return lines.map(([name, text]) => `${out.style('bold', name.padEnd(9))}${text}`).join('\n');
}

/** How to call the network from elsewhere; ready to paste. */
export function snippets({ gatewayUrl, apiKey }: Pick<Network, 'gatewayUrl' | 'apiKey'>): string {
  return `
curl ${gatewayUrl}/v1/chat/completions \\
  -H 'Authorization: Bearer ${apiKey}' -H 'Content-Type: application/json' \\
  -d '{"model":"${EMBEDDED_MODEL_ID}","messages":[{"role":"user","content":"Hello!"}]}'

# Python: pip install openai
from openai import OpenAI
client = OpenAI(base_url="${gatewayUrl}/v1", api_key="${apiKey}")
print(client.chat.completions.create(model="${EMBEDDED_MODEL_ID}",
      messages=[{"role": "user", "content": "Hello!"}]).choices[0].message.content)

// Node: npm install openai
import OpenAI from 'openai';
const client = new OpenAI({ baseURL: '${gatewayUrl}/v1', apiKey: '${apiKey}' });
const answer = await client.chat.completions.create({ model: '${EMBEDDED_MODEL_ID}',
  messages: [{ role: 'user', content: 'Hello!' }] });
console.log(answer.choices[0].message.content);
`;
}
