import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { Api } from './api.ts';
import { CliError, EXIT, usageError } from './errors.ts';
import type { ListView } from './views.ts';

/** Options that `chat` and `submit` share. */
export interface ChatOptions {
  readonly model?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly seed?: number;
  readonly system?: string;
  readonly deadline?: number;
  readonly priority?: string;
  readonly tier?: number;
  readonly delivery?: string;
}

export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** The body of a chat request, without its messages. The first model served is the default. */
export async function bodyFields(api: Api, options: ChatOptions): Promise<object> {
  return { model: options.model ?? (await firstModel(api)), ...givenFields(options) };
}

/** Only what was given: the rest is the gateway's to choose. */
export function givenFields(options: ChatOptions): object {
  const fields = {
    model: options.model,
    max_tokens: options.maxTokens,
    temperature: options.temperature,
    seed: options.seed,
    deadline_seconds: options.deadline,
    priority: options.priority,
    hardware_tier: options.tier,
    delivery: options.delivery,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** The system message, if one was asked for. */
export function systemMessages({ system }: ChatOptions): Message[] {
  return system === undefined ? [] : [{ role: 'system', content: system }];
}

/** All of stdin: a prompt that was piped in. */
export async function readStdin(): Promise<string> {
  const content = (await text(process.stdin)).trim();
  if (content === '') throw usageError('The prompt is empty: nothing came in by stdin.');
  return content;
}

/** A JSON object from a file; `-` is stdin. */
export async function readBody(file: string): Promise<Record<string, unknown>> {
  let content: string;
  try {
    content = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw usageError(`${file} can't be read: ${(error as Error).message}`);
  }
  let body: unknown;
  try {
    body = JSON.parse(content);
  } catch (error) {
    throw usageError(`${file} holds no JSON: ${(error as Error).message}`);
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw usageError(`${file} holds no JSON object.`);
  return body as Record<string, unknown>;
}

async function firstModel(api: Api): Promise<string> {
  const { data } = await api.get<ListView<{ readonly id: string }>>('/v1/models');
  const [model] = data;
  if (model) return model.id;
  throw new CliError(EXIT.notFound, 'cli.no_model', `${api.url} serves no model yet.`);
}
