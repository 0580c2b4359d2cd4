import assert from 'node:assert/strict';
import { startLoneGateway, type LoneGateway } from './lone-gateway.ts';
import { newAccount, signIn, type KeyAnswer } from './sign-in.ts';

/** Every scope that a key can have. */
export const ALL_SCOPES = ['inference', 'read', 'keys'];

/** A gateway without a network behind it, and an account that has signed in for a key. */
export interface KeysScene {
  readonly gateway: LoneGateway;
  readonly owner: KeyAnswer;
  /** By the owner's key unless told another. */
  call(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    options?: { key?: string; body?: object },
  ): Promise<Omit<Awaited<ReturnType<LoneGateway['call']>>, 'body'> & { body: KeyAnswer }>;
  make(body: object, key?: string): ReturnType<KeysScene['call']>;
  /** A key that may do all. */
  made(body: object): Promise<KeyAnswer>;
  /** Whether a gateway takes a key; by default the scene's. */
  works(key: string, url?: string): Promise<boolean>;
}

export async function startKeysScene(): Promise<KeysScene> {
  const gateway = await startLoneGateway();
  const owner = await signIn(gateway.url, newAccount(), { name: 'owner', scopes: ALL_SCOPES });
  const call: KeysScene['call'] = async (method, path, options = {}) => {
    const answer = await gateway.call(method, path, { key: owner.key, ...options });
    return { ...answer, body: answer.body as unknown as KeyAnswer };
  };
  const make: KeysScene['make'] = (body, key = owner.key) =>
    call('POST', '/v1/keys', { key, body });
  return {
    gateway,
    owner,
    call,
    make,
    made: async (body) => (await make({ name: 'x', scopes: ALL_SCOPES, ...body })).body,
    async works(key, url = gateway.url) {
      const headers = { authorization: `Bearer ${key}` };
      const { status } = await fetch(`${url}/v1/requests`, { headers });
      assert.ok(status === 200 || status === 401, String(status));
      return status === 200;
    },
  };
}
