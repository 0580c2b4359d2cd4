import assert from 'node:assert/strict';
import { apiKeyHash } from '../../crypto/api-key.ts';
import { replaceSecret } from '../../prisma/api-keys.ts';
import { ALL_SCOPES, startKeysScene, type KeysScene } from '../support/keys-scene.ts';
import { newAccount, signIn } from '../support/sign-in.ts';
import { until } from '../support/until.ts';

describe('gateway/keys: what was stolen', () => {
  let scene: KeysScene;
  let gateway: KeysScene['gateway'];
  let owner: KeysScene['owner'];
  before(async () => {
    scene = await startKeysScene();
    ({ gateway, owner } = scene);
  });
  after(() => gateway.stop());

  const call: KeysScene['call'] = (...asked) => scene.call(...asked);
  const make: KeysScene['make'] = (...asked) => scene.make(...asked);
  const made: KeysScene['made'] = (body) => scene.made(body);
  const works: KeysScene['works'] = (...asked) => scene.works(...asked);

  const waiting = async () => {
    const [row] = await gateway.database.$queryRaw<{ count: number }[]>`
      SELECT count(*)::int FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock'`;
    return row?.count ?? 0;
  };

  it('lets a former secret serve apps, and manage nothing', async () => {
    const { id, key: former } = await made({});
    const rotate = { body: { overlap_seconds: 600 } };
    const { key } = (await call('POST', `/v1/keys/${id}/rotate`, rotate)).body;
    assert.ok(await works(former));
    for (const [method, path, body] of [
      ['POST', '/v1/keys', { name: 'more' }],
      ['POST', `/v1/keys/${id}/rotate`, {}],
      ['PATCH', `/v1/keys/${id}`, { name: 'other' }],
      ['DELETE', `/v1/keys/${id}`, undefined],
      ['GET', '/v1/keys', undefined],
    ] as const) {
      const { status, code } = await call(method, path, { key: former, ...(body ? { body } : {}) });
      assert.deepEqual([status, code], [403, 'gateway.scope_missing'], `${method} ${path}`);
    }
    assert.ok(await works(key));
    const admin = await gateway.database.apiKey.create({
      data: { accountId: owner.account, keyHash: apiKeyHash('now'), isAdmin: true },
    });
    const endsAt = new Date(Date.now() + 60_000);
    await gateway.database.formerSecret.create({
      data: { keyHash: apiKeyHash('before'), keyId: admin.id, endsAt },
    });
    const prices = await gateway.call('POST', '/v1/models/m/prices', { key: 'before', body: {} });
    assert.equal(prices.code, 'gateway.admin_required');
  });

  it('lets a secret do nothing that was rotated away while it was looked at', async () => {
    const changes = [
      ['POST', () => '/v1/keys', { name: 'more' }],
      ['POST', (id: string) => `/v1/keys/${id}/rotate`, { overlap_seconds: 0 }],
      ['PATCH', (id: string) => `/v1/keys/${id}`, { name: 'other' }],
      ['DELETE', (id: string) => `/v1/keys/${id}`, undefined],
    ] as const;
    for (const [method, path, body] of changes) {
      const by = await made({});
      const target = await made({});
      let late: ReturnType<typeof call> | undefined;
      await gateway.database.$transaction(async (transaction) => {
        await transaction.$queryRaw`SELECT FROM api_key WHERE id = ${by.id} FOR UPDATE`;
        late = call(method, path(target.id), { key: by.key, ...(body ? { body } : {}) });
        await until(async () => (await waiting()) > 0, 'it waits for the lock');
        await replaceSecret(transaction, by.id, { keyHash: `h ${by.id}`, hint: 'plx-1234' }, 0);
      });
      const answer = await late;
      assert.deepEqual([answer?.status, answer?.code], [401, 'receive.unauthorized'], method);
      const row = (await call('GET', `/v1/keys/${target.id}`)).body;
      assert.deepEqual([row.status, row.name, row.hint], ['active', 'x', target.hint]);
    }
  });

  it('lets the owner sign in and revoke any key, however many keys have made', async () => {
    const account = newAccount();
    const thief = await signIn(gateway.url, account, { name: 'thief', scopes: ALL_SCOPES });
    await gateway.database.$executeRaw`
      INSERT INTO api_key (key_hash, account_id, scopes)
      SELECT 'thief ' || i, ${account.id}, '{inference,read,keys}'
      FROM generate_series(1, 999) AS i`;
    assert.equal((await make({ name: 'more' }, thief.key)).code, 'gateway.too_many_keys');
    // Less than the other has: what it can't hand out, it can still end.
    const limits = { budget_wei: '0' };
    const spec = { name: 'owner', scopes: ['keys'], expires_in_seconds: 600, limits };
    const { key } = await signIn(gateway.url, account, spec);
    assert.equal((await call('DELETE', `/v1/keys/${thief.id}`, { key })).body.status, 'revoked');
    assert.ok(!(await works(thief.key)));
    await gateway.database.$executeRaw`
      INSERT INTO api_key (key_hash, account_id)
      SELECT 'owner ' || i, ${account.id} FROM generate_series(1, 100) AS i`;
    await assert.rejects(signIn(gateway.url, account, spec), /too_many_keys/);
  });
});
