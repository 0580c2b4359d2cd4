import { generatePrivateKey, privateKeyToAccount, type PrivateKeyAccount } from 'viem/accounts';
import type { Address } from '../../protocol/binding.ts';

/** An account of somebody, with a wallet of its own. */
export function newAccount(): PrivateKeyAccount & { readonly id: Address } {
  const account = privateKeyToAccount(generatePrivateKey());
  return { ...account, id: account.address.toLowerCase() as Address };
}

/** A key as the API shows it when it is made. */
export interface KeyAnswer {
  readonly id: string;
  readonly key: string;
  readonly account: string;
  readonly name: string;
  readonly hint: string;
  readonly status: string;
  readonly scopes: readonly string[];
  readonly expires_at: string | null;
  readonly revoked_at: string | null;
  readonly limits: Readonly<Record<string, string | number | null>>;
  readonly used: Readonly<Record<string, string | number>>;
  readonly error?: { readonly code: string; readonly message: string; readonly param: string };
}

export interface SignInAnswer {
  readonly nonce: string;
  readonly message: string;
  readonly expires_at: string;
}

/** What comes back has some of these. */
type Answer = KeyAnswer & SignInAnswer;

/** Sends a body to a route that takes no key. */
export async function post(
  url: string,
  path: string,
  body: object,
): Promise<{ readonly status: number; readonly body: Answer }> {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Answer };
}

/** A key of an account, by its signature. */
export async function signIn(
  url: string,
  account: ReturnType<typeof newAccount>,
  spec: object = { name: 'a key' },
): Promise<KeyAnswer> {
  const asked = { address: account.address, ...spec };
  const { body } = await post(url, '/v1/auth/nonce', asked);
  const { message } = body;
  const signature = await account.signMessage({ message });
  const made = await post(url, '/v1/auth/keys', { message, signature, ...spec });
  if (made.status !== 201) throw new Error(JSON.stringify(made.body));
  return made.body;
}
