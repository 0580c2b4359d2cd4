import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createSiweMessage, parseSiweMessage, type SiweMessage } from 'viem/siwe';
import { drawSignInNonce, signInNonceKeys } from '../../crypto/sign-in-nonce.ts';
import { startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';
import { balances } from '../support/seeded.ts';
import { newAccount, post, signIn } from '../support/sign-in.ts';

const SPEC = { name: 'My app', scopes: ['inference', 'read'] };

describe('gateway/sign-in', () => {
  let gateway: LoneGateway;
  beforeEach(async () => {
    gateway = await startLoneGateway();
  });
  afterEach(() => gateway.stop());

  const nonce = (address: string, spec: object = SPEC) =>
    post(gateway.url, '/v1/auth/nonce', { address, ...spec });
  const redeem = (message: string, signature: string, spec: object = SPEC) =>
    post(gateway.url, '/v1/auth/keys', { message, signature, ...spec });

  it('makes account and key by a signature, and shows the key once', async () => {
    const account = newAccount();
    const { body } = await nonce(account.address);
    const { message } = body;
    const { domain, chainId } = parseSiweMessage(message);
    assert.deepEqual([domain, chainId], [new URL(gateway.url).host, 31_337]);
    const signature = await account.signMessage({ message });
    const { status, body: made } = await redeem(message, signature);
    assert.equal(status, 201);
    assert.match(made.key, /^plx-[\w-]{43}$/);
    assert.match(made.id, /^key_[0-9a-f]{32}$/);
    assert.equal(made.account, account.id);
    assert.equal(made.hint, made.key.slice(0, 8));
    const { status: allowed } = await gateway.call('GET', '/v1/requests', { key: made.key });
    assert.equal(allowed, 200);
    const row = await gateway.database.apiKey.findUniqueOrThrow({ where: { id: made.id } });
    assert.equal(row.keyHash, createHash('sha256').update(made.key).digest('hex'));
    assert.equal((await balances(gateway.database))[`${account.id}:available`], 0n);
    const stored = JSON.stringify([row, gateway.logged], (_name, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
    for (const secret of [made.key.slice(8), signature.slice(2), body.nonce])
      assert.ok(!stored.includes(secret), 'no secret is stored or logged');
    assert.match(JSON.stringify(gateway.logged), /API key made by a signature/);
  });

  it('goes on with an account that is there', async () => {
    const account = newAccount();
    const [first, second] = [
      await signIn(gateway.url, account),
      await signIn(gateway.url, account, { name: 'two', expires_in_seconds: 60 }),
    ];
    assert.equal(first.account, second.account);
    assert.equal(await gateway.database.apiKey.count({ where: { accountId: account.id } }), 2);
    const lifeMs = Date.parse(second.expires_at ?? '') - Date.now();
    assert.ok(lifeMs > 50_000 && lifeMs <= 60_000, String(lifeMs));
  });

  it('takes a nonce once, however many come with it at once', async () => {
    const account = newAccount();
    const { message } = (await nonce(account.address)).body;
    const signature = await account.signMessage({ message });
    const all = await Promise.all(Array.from({ length: 8 }, () => redeem(message, signature)));
    assert.deepEqual(
      all.map(({ status }) => status).toSorted((a, b) => a - b),
      [201, 401, 401, 401, 401, 401, 401, 401],
    );
    const refused = all.filter(({ status }) => status === 401);
    for (const { body } of refused) {
      assert.equal(body.error?.code, 'gateway.sign_in_invalid');
      assert.match(body.error?.message ?? '', /nonce is unknown, used or too old/);
    }
    assert.equal(await gateway.database.apiKey.count({ where: { accountId: account.id } }), 1);
  });

  it('takes no nonce of its own making, and none that has ended', async () => {
    const account = newAccount();
    const { message, nonce: given } = (await nonce(account.address)).body;
    const own = message.replace(given, 'f'.repeat(32));
    const forged = await redeem(own, await account.signMessage({ message: own }));
    assert.match(forged.body.error?.message ?? '', /nonce is unknown/);
    const keys = signInNonceKeys(gateway.ring);
    const ended = drawSignInNonce(keys, account.id, new Date(Date.now() - 1_000));
    const anothers = drawSignInNonce(keys, newAccount().id, new Date(Date.now() + 60_000));
    for (const other of [ended, anothers]) {
      const text = message.replace(given, other);
      const { body } = await redeem(text, await account.signMessage({ message: text }));
      assert.match(body.error?.message ?? '', /nonce is unknown, used or too old/);
    }
    assert.equal(await gateway.database.account.count({ where: { id: account.id } }), 0);
  });

  it('keeps those that were used, as long as they would be good', async () => {
    const { database } = gateway;
    const data = ['old', 'just ended'].map((name, i) => ({
      nonce: name,
      expiresAt: new Date(Date.now() - [70_000, 10_000][i]!),
    }));
    await database.signInNonce.createMany({ data });
    const account = newAccount();
    await nonce(account.address);
    assert.equal(await database.signInNonce.count(), 2, 'to ask for one stores nothing');
    await signIn(gateway.url, account);
    const kept = await database.signInNonce.findMany({ orderBy: { expiresAt: 'asc' } });
    assert.equal(kept.length, 2);
    assert.equal(kept[0]?.nonce, 'just ended');
    const inMs = (kept[1]?.expiresAt.getTime() ?? 0) - Date.now();
    assert.ok(inMs > 290_000 && inMs <= 300_000, String(inMs));
  });

  it('refuses other domains, chains, times and keys, and leaves the nonce as it was', async () => {
    const account = newAccount();
    const { message } = (await nonce(account.address)).body;
    const { issuedAt, expirationTime, ...fields } = parseSiweMessage(message) as SiweMessage;
    assert.ok(issuedAt && expirationTime);
    const times = { issuedAt, expirationTime };
    const before = new Date(Date.now() - 400_000);
    const cases: [Partial<SiweMessage>, RegExp][] = [
      [{ domain: 'example.net' }, /domain/],
      [{ uri: 'http://example.net/v1/auth/keys' }, /URI/],
      [{ chainId: 1 }, /chain id/],
      [{ issuedAt: before, expirationTime: new Date(before.getTime() + 300_000) }, /too long ago/],
      [{ notBefore: new Date(Date.now() + 60_000) }, /not begun/],
    ];
    for (const [changed, reason] of cases) {
      const text = createSiweMessage({ ...fields, ...times, ...changed });
      const { status, body } = await redeem(text, await account.signMessage({ message: text }));
      assert.deepEqual([status, body.error?.code], [401, 'gateway.sign_in_invalid']);
      assert.match(body.error?.message ?? '', reason);
    }
    const signature = await account.signMessage({ message });
    for (const spec of [
      { ...SPEC, scopes: ['inference', 'read', 'keys'] },
      { ...SPEC, name: 'Yours' },
      { ...SPEC, limits: { budget_wei: '5' } },
      { ...SPEC, expires_in_seconds: 5 },
    ])
      assert.match((await redeem(message, signature, spec)).body.error?.message ?? '', /statement/);
    const stranger = await newAccount().signMessage({ message });
    assert.match((await redeem(message, stranger)).body.error?.message ?? '', /did not sign/);
    assert.equal(await gateway.database.signInNonce.count(), 0);
    assert.equal((await redeem(message, signature)).status, 201);
  });

  it('is the same key in whatever order its scopes are named', async () => {
    const account = newAccount();
    const { message } = (await nonce(account.address, { ...SPEC, scopes: ['read', 'inference'] }))
      .body;
    const { status, body } = await redeem(message, await account.signMessage({ message }));
    assert.deepEqual([status, body.scopes], [201, ['inference', 'read']]);
  });

  it('refuses what makes no sense, by the name of the field', async () => {
    const { address } = newAccount();
    const cases: [object, string][] = [
      [{ address: '0x12', name: 'x' }, 'address'],
      [{ address }, 'name'],
      [{ address, name: ' ' }, 'name'],
      [{ address, name: 'a\u0007b' }, 'name'],
      [{ address, name: 'a\nb' }, 'name'],
      [{ address, name: 'a\u202eb' }, 'name'],
      [{ address, name: 'x'.repeat(65) }, 'name'],
      [{ address, name: 'x', scopes: [] }, 'scopes'],
      [{ address, name: 'x', scopes: ['admin'] }, 'scopes.0'],
      [{ address, name: 'x', scopes: ['read', 'read'] }, 'scopes'],
      [{ address, name: 'x', expires_in_seconds: 0 }, 'expires_in_seconds'],
      [{ address, name: 'x', limits: { budget_wei: 5 } }, 'limits.budget_wei'],
      [{ address, name: 'x', limits: { budget_wei: '-5' } }, 'limits.budget_wei'],
      [{ address, name: 'x', limits: { budget_period: 'year' } }, 'limits.budget_period'],
      [{ address, name: 'x', limits: { concurrency: 0 } }, 'limits.concurrency'],
      [{ address, name: 'x', is_admin: true }, 'is_admin'],
    ];
    for (const [body, param] of cases) {
      const answer = await post(gateway.url, '/v1/auth/nonce', body);
      assert.deepEqual([answer.status, answer.body.error?.param], [400, param]);
    }
  });

  it('lets no address ask without end', async () => {
    const { address } = newAccount();
    const statuses: number[] = [];
    for (let call = 0; call < 40; call++) statuses.push((await nonce(address)).status);
    assert.deepEqual([...new Set(statuses)], [200, 429]);
    const taken = statuses.filter((status) => status === 200).length;
    assert.ok(taken >= 30 && taken < 40, String(taken));
    const response = await fetch(`${gateway.url}/v1/auth/keys`, { method: 'POST' });
    assert.deepEqual([response.status, response.headers.get('retry-after')], [429, '2']);
  });

  it('counts by what a trusted proxy says, and by what nobody else says', async () => {
    const statuses = async (url: string, from: (call: number) => string) => {
      const all: number[] = [];
      for (let call = 0; call < 40; call++) {
        const headers = { 'x-forwarded-for': from(call) };
        const response = await fetch(`${url}/v1/auth/nonce`, { method: 'POST', headers });
        all.push(response.status);
      }
      return [...new Set(all)];
    };
    const each = (call: number) => `203.0.113.${call}`;
    assert.deepEqual(await statuses(gateway.url, each), [400, 429]);
    const behind = await gateway.another({ trustedProxies: ['127.0.0.0/8'] });
    assert.deepEqual(await statuses(behind, each), [400]);
    // The last one is whom the proxy saw; before it stands what that one has sent.
    assert.deepEqual(await statuses(behind, (call) => `${each(call)}, 198.51.100.7`), [400, 429]);
  });
});
