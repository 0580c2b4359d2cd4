import { operatorAddress, signText } from '../crypto/operator.ts';
import {
  BUDGET_PERIODS,
  SCOPES,
  type BudgetPeriod,
  type KeySpec,
  type Scope,
} from '../protocol/keys.ts';
import { signInMismatch, signInTerms, type SignInTerms } from '../protocol/sign-in.ts';
import type { Api } from './api.ts';
import { writeJson, type Context } from './context.ts';
import { CliError, EXIT, usageError, type ExitCode } from './errors.ts';
import { ago, prlx, short, span, table, weiOf } from './format.ts';
import { apiKeyId } from './ids.ts';
import { accountKey } from './operator.ts';
import type { ApiKeyView, ListView, NewApiKeyView } from './views.ts';

export interface NewKeyOptions {
  readonly name: string;
  readonly scope?: string;
  readonly days?: number;
  /** In PRLX. */
  readonly budget?: string;
  readonly period?: string;
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly concurrency?: number;
  /** A file with an account's private key. */
  readonly signWith?: string;
  readonly chainId?: number;
}

/** `prlx keys new`: a key, which is shown this once. */
export async function newKey(context: Context, options: NewKeyOptions): Promise<ExitCode> {
  const spec = specOf(options);
  const { api } = context;
  const { signWith, chainId = 31_337 } = options;
  const made =
    signWith === undefined
      ? await api.post<NewApiKeyView>('/v1/keys', bodyOf(spec))
      : await signedKey(api, spec, signWith, chainId);
  show(context, made, `It is ${short(made.id)} of ${made.account}, and isn't shown again.`);
  return EXIT.ok;
}

/** Nothing is signed but what was asked for, for the gateway that was asked. */
async function signedKey(
  api: Api,
  spec: KeySpec,
  file: string,
  chainId: number,
): Promise<NewApiKeyView> {
  const key = await accountKey(file, 'prlx account new');
  const address = operatorAddress(key);
  const terms = termsOf(api, chainId);
  const body = bodyOf(spec);
  const { message } = await api.post<{ message: string }>('/v1/auth/nonce', { address, ...body });
  const mismatch = signInMismatch(message, terms, spec, address);
  if (mismatch !== undefined)
    throw new CliError(
      EXIT.failed,
      'cli.not_signed',
      `Nothing was signed: the message of ${api.url} isn't what was asked for, ${mismatch}. ` +
        'If that is where you mean to sign in, say so: --url, --chain-id.',
    );
  const signature = await signText(key, message);
  return api.post<NewApiKeyView>('/v1/auth/keys', { message, signature, ...body });
}

function termsOf({ url }: Api, chainId: number): SignInTerms {
  try {
    return signInTerms(url, chainId);
  } catch (error) {
    throw usageError(`Nobody can sign in at ${url}: ${(error as Error).message}.`);
  }
}

/** `prlx keys`: those of the account, also those that have ended. */
export async function listKeys({ api, json, out, notes }: Context): Promise<ExitCode> {
  const list = await api.get<ListView<ApiKeyView>>('/v1/keys?limit=100');
  if (json) writeJson(out, list);
  else {
    const rows = list.data.map((key) => [
      short(key.id),
      key.hint,
      key.status,
      key.is_admin ? 'admin' : key.scopes.join(','),
      ago(key.created_at),
      endOf(key),
      limitsOf(key),
      key.name,
    ]);
    const names = ['key', 'begins', 'status', 'scopes', 'made', 'ends', 'limits', 'name'];
    const [head = '', ...lines] = table(names, rows);
    out.write([out.style('bold', head), ...lines].map((line) => `${line}\n`).join(''));
    if (list.has_more) notes.write('There are more: GET /v1/keys has them by pages.\n');
  }
  return EXIT.ok;
}

/** `prlx keys rotate`: another secret for the same key. */
export async function rotateKey(context: Context, text: string, overlap: number) {
  const id = await apiKeyId(context.api, text);
  const body = { overlap_seconds: overlap };
  const rotated = await context.api.post<NewApiKeyView>(`/v1/keys/${id}/rotate`, body);
  const former = overlap === 0 ? 'no more' : `for ${span(overlap * 1_000)} more`;
  show(context, rotated, `It is ${short(id)} from now on; the former secret is good ${former}.`);
  return EXIT.ok;
}

/** `prlx keys revoke`: nobody gets in with it from now on. */
export async function revokeKey({ api, json, out }: Context, text: string): Promise<ExitCode> {
  const id = await apiKeyId(api, text);
  const revoked = await api.delete<ApiKeyView>(`/v1/keys/${id}`);
  if (json) writeJson(out, revoked);
  else out.write(`${id} is revoked.\n`);
  return EXIT.ok;
}

function show({ json, out, notes }: Context, made: NewApiKeyView, note: string): void {
  if (json) writeJson(out, made);
  else {
    out.write(`${made.key}\n`);
    notes.write(`${note}\n`);
  }
}

function specOf(options: NewKeyOptions): KeySpec {
  const { name, scope = 'inference,read', days, budget, period = 'month' } = options;
  const named = scope.split(',').map((each) => each.trim());
  const unknown = named.filter((each) => !SCOPES.includes(each as Scope));
  if (unknown.length > 0) throw usageError(`--scope takes ${SCOPES.join(', ')}.`);
  const budgetWei = budget === undefined ? null : weiOf(budget);
  if (budgetWei === undefined) throw usageError('--budget is PRLX, such as 0.5.');
  if (!BUDGET_PERIODS.includes(period as BudgetPeriod)) throw usageError('No such --period.');
  return {
    name: name.trim(),
    scopes: SCOPES.filter((each) => named.includes(each)),
    expiresInSeconds: days === undefined ? null : days * 86_400,
    limits: {
      budgetWei,
      budgetPeriod: period as BudgetPeriod,
      requestsPerMinute: options.requestsPerMinute ?? null,
      tokensPerMinute: options.tokensPerMinute ?? null,
      concurrency: options.concurrency ?? null,
    },
  };
}

/** As the API takes it. */
function bodyOf({ name, scopes, expiresInSeconds, limits }: KeySpec): object {
  return {
    name,
    scopes,
    expires_in_seconds: expiresInSeconds,
    limits: {
      budget_wei: limits.budgetWei?.toString() ?? null,
      budget_period: limits.budgetPeriod,
      requests_per_minute: limits.requestsPerMinute,
      tokens_per_minute: limits.tokensPerMinute,
      concurrency: limits.concurrency,
    },
  };
}

function endOf({ status, expires_at: at }: ApiKeyView): string {
  if (status !== 'active' || at === null) return '–';
  return `in ${span(Date.parse(at) - Date.now())}`;
}

function limitsOf({ limits }: ApiKeyView): string {
  const { budget_wei: wei, budget_period: period } = limits;
  const budget =
    wei === null ? null : `${prlx(wei)} ${period === 'total' ? 'in all' : `a ${period}`}`;
  const each = [
    budget,
    limits.requests_per_minute && `${limits.requests_per_minute} requests/min`,
    limits.tokens_per_minute && `${limits.tokens_per_minute} tokens/min`,
    limits.concurrency && `${limits.concurrency} at once`,
  ];
  return each.filter(Boolean).join(', ') || '–';
}
