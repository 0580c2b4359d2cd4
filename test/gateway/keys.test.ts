import assert from 'node:assert/strict';
import { ALL_SCOPES, startKeysScene, type KeysScene } from '../support/keys-scene.ts';
import { ADMIN_KEY, OTHER_KEY } from '../support/lone-gateway.ts';
import { API_KEY } from '../support/seeded.ts';
import { newAccount, signIn, type KeyAnswer } from '../support/sign-in.ts';

describe('gateway/keys', () => {
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

  it('makes keys, and shows all but their secrets', async () => {
    const limits = { budget_wei: '1000', requests_per_minute: 5 };
    const { status, body } = await make({ name: ' Phone ', limits, expires_in_seconds: 100 });
    assert.equal(status, 201);
    assert.ok(await works(body.key));
    const shown = (await call('GET', `/v1/keys/${body.id}`)).body;
    const { key, account, ...rest } = body;
    assert.deepEqual(shown, rest);
    assert.equal(account, owner.account);
    assert.deepEqual(
      [shown.name, shown.hint, shown.status, shown.scopes, shown.limits],
      [
        'Phone',
        key.slice(0, 8),
        'active',
        ['inference', 'read'],
        {
          budget_wei: '1000',
          budget_period: 'month',
          requests_per_minute: 5,
          tokens_per_minute: null,
          concurrency: null,
        },
      ],
    );
    const list = await gateway.call('GET', '/v1/keys?limit=1', { key: owner.key });
    assert.deepEqual([list.body.data[0]?.id, list.body.has_more], [body.id, true]);
    const path = `/v1/keys?after=${list.body.last_id}`;
    const next = await gateway.call('GET', path, { key: owner.key });
    assert.equal(next.body.last_id, owner.id);
    assert.ok(!JSON.stringify([gateway.logged, next, list, shown]).includes(key.slice(8)));
  });

  it('knows no keys of other accounts, and none that are none', async () => {
    const stranger = await signIn(gateway.url, newAccount(), { name: 's', scopes: ALL_SCOPES });
    for (const id of [stranger.id, 'key_0', 'x', '%00', 'key_%00', `key_${'a'.repeat(65)}`])
      for (const [method, path] of [
        ['GET', ''],
        ['PATCH', ''],
        ['DELETE', ''],
        ['POST', '/rotate'],
      ] as const) {
        const { status, code } = await call(method, `/v1/keys/${id}${path}`);
        assert.deepEqual([status, code], [404, 'gateway.key_not_found'], `${method} ${id}`);
      }
    const after = await call('GET', `/v1/keys?after=${stranger.id}`);
    assert.equal(after.code, 'gateway.key_not_found');
    assert.ok(await works(stranger.key));
  });

  it('hands out no more than a key has', async () => {
    const reader = await made({ scopes: ['read', 'keys'], expires_in_seconds: 1_000 });
    const limited = await made({ limits: { concurrency: 3 } });
    const cases: [KeyAnswer, object, RegExp][] = [
      [reader, { scopes: ALL_SCOPES, expires_in_seconds: 10 }, /lacks inference itself/],
      [reader, { scopes: ['read'] }, /ends at 2\d{3}-.* itself/],
      [reader, { scopes: ['read'], expires_in_seconds: 2_000 }, /ends at .* itself/],
      [limited, { scopes: ['read'] }, /has limits/],
      [limited, { scopes: ['read'], limits: { concurrency: 1 } }, /has limits/],
    ];
    for (const [by, body, reason] of cases) {
      const answer = await make({ name: 'more', ...body }, by.key);
      assert.deepEqual([answer.status, answer.code], [403, 'gateway.scope_missing']);
      assert.match(answer.body.error?.message ?? '', reason);
    }
    const less = await make({ name: 'l', scopes: ['read'], expires_in_seconds: 900 }, reader.key);
    assert.equal(less.status, 201);
    const rotated = (by: KeyAnswer, key: KeyAnswer) =>
      call('POST', `/v1/keys/${key.id}/rotate`, { key: by.key });
    for (const by of [reader, limited]) {
      assert.equal((await rotated(by, owner)).code, 'gateway.scope_missing');
      assert.ok(await works(owner.key), 'it has its secret still');
    }
    assert.equal((await rotated(limited, limited)).status, 200);
  });

  it('lets a key with limits tighten them, and not loosen them', async () => {
    const { id, key } = await made({ limits: { budget_wei: '100', concurrency: 3 } });
    const change = (limits: object, by: string) =>
      call('PATCH', `/v1/keys/${id}`, { key: by, body: { limits } });
    for (const limits of [
      { budget_wei: '101' },
      { budget_wei: null },
      { budget_period: 'day' },
      { concurrency: null },
      { concurrency: 4 },
    ])
      assert.equal((await change(limits, key)).code, 'gateway.scope_missing');
    const tightened = await change({ budget_wei: '50', requests_per_minute: 1 }, key);
    assert.deepEqual(
      [tightened.body.limits['budget_wei'], tightened.body.limits['concurrency']],
      ['50', 3],
    );
    const loosened = await change({ budget_wei: null, concurrency: null }, owner.key);
    assert.deepEqual(
      [loosened.body.limits['budget_wei'], loosened.body.limits['requests_per_minute']],
      [null, 1],
    );
    const named = await call('PATCH', `/v1/keys/${id}`, { body: { name: 'Tablet' } });
    assert.equal(named.body.name, 'Tablet');
  });

  it('touches admin keys by admin keys alone, whatever account they are of', async () => {
    const { database } = gateway;
    const admin = await database.apiKey.findFirstOrThrow({ where: { isAdmin: true } });
    const refused = async (method: 'POST' | 'PATCH' | 'DELETE', path: string) =>
      (await call(method, `/v1/keys/${admin.id}${path}`, { key: API_KEY })).status;
    assert.deepEqual(
      [await refused('POST', '/rotate'), await refused('PATCH', ''), await refused('DELETE', '')],
      [403, 403, 403],
    );
    assert.ok(await works(ADMIN_KEY));
    const { body } = await make({ name: 'n', scopes: ALL_SCOPES }, API_KEY);
    assert.equal((body as { is_admin?: boolean }).is_admin, false);
  });

  it('rotates: one id, counters as they were, another secret', async () => {
    const { id, key } = await made({ limits: { budget_wei: '100' } });
    const counters = { spentWei: '70', reservedWei: '5', inFlight: 2, windowRequests: 9 };
    await gateway.database.apiKey.update({ where: { id }, data: counters });
    const { body } = await call('POST', `/v1/keys/${id}/rotate`);
    assert.equal(body.id, id);
    assert.deepEqual(body.used, { spent_wei: '70', reserved_wei: '5', in_flight: 2 });
    assert.deepEqual([await works(key), await works(body.key)], [false, true]);
    const row = await gateway.database.apiKey.findUniqueOrThrow({ where: { id } });
    assert.deepEqual(
      [row.spentWei.toFixed(), row.reservedWei.toFixed(), row.inFlight, row.windowRequests],
      ['70', '5', 2, 9],
    );
    assert.equal(row.budgetWei?.toFixed(), '100');
    await gateway.database.apiKey.update({ where: { id }, data: { periodBeganAt: new Date(0) } });
    const later = (await call('GET', `/v1/keys/${id}`)).body.used;
    assert.deepEqual(later, { spent_wei: '0', reserved_wei: '5', in_flight: 2 });
  });

  it('takes former secrets for as long as it is told, and no longer', async () => {
    const { id, key: first } = await made({});
    const rotate = async (seconds?: number) => {
      const body = seconds === undefined ? {} : { overlap_seconds: seconds };
      return (await call('POST', `/v1/keys/${id}/rotate`, { body })).body.key;
    };
    const second = await rotate(600);
    const third = await rotate(3_600);
    assert.deepEqual(await Promise.all([first, second, third].map((key) => works(key))), [
      true,
      true,
      true,
    ]);
    const ends = await gateway.database.formerSecret.findMany({
      where: { keyId: id },
      orderBy: { endsAt: 'asc' },
    });
    const inSeconds = ends.map(({ endsAt }) => Math.round((endsAt.getTime() - Date.now()) / 1_000));
    assert.deepEqual(
      inSeconds.map((seconds) => Math.round(seconds / 100) * 100),
      [600, 3_600],
    );
    await gateway.database.formerSecret.updateMany({
      where: { keyId: id, endsAt: ends[0]?.endsAt ?? new Date() },
      data: { endsAt: new Date(Date.now() - 1) },
    });
    assert.deepEqual([await works(first), await works(second)], [false, true]);
    const fourth = await rotate();
    assert.deepEqual(await Promise.all([second, third, fourth].map((key) => works(key))), [
      false,
      false,
      true,
    ]);
    assert.equal(await gateway.database.formerSecret.count({ where: { keyId: id } }), 0);
    for (const overlap of [-1, 86_401, 1.5, '60']) {
      const body = { overlap_seconds: overlap };
      const { status } = await call('POST', `/v1/keys/${id}/rotate`, { body });
      assert.equal(status, 400);
    }
  });

  it('revokes at once, at every gateway, former secrets too', async () => {
    const other = await gateway.another();
    const { id, key } = await made({});
    const { key: rotated } = (
      await call('POST', `/v1/keys/${id}/rotate`, { body: { overlap_seconds: 600 } })
    ).body;
    for (const each of [key, rotated]) assert.ok(await works(each, other));
    const { body } = await call('DELETE', `/v1/keys/${id}`);
    assert.equal(body.status, 'revoked');
    for (const each of [key, rotated])
      for (const url of [other, gateway.url]) assert.ok(!(await works(each, url)));
    const again = await call('DELETE', `/v1/keys/${id}`);
    assert.equal(again.body.revoked_at, body.revoked_at);
    const late = await call('POST', `/v1/keys/${id}/rotate`);
    assert.deepEqual([late.status, late.code], [404, 'gateway.key_not_found']);
  });

  it('ends a key at its time', async () => {
    const { id, key } = await made({ expires_in_seconds: 60 });
    assert.ok(await works(key));
    const expiresAt = new Date(Date.now() - 1);
    await gateway.database.apiKey.update({ where: { id }, data: { expiresAt } });
    assert.ok(!(await works(key)));
    assert.equal((await call('GET', `/v1/keys/${id}`)).body.status, 'expired');
  });

  it('has a most of keys for an account', async () => {
    const account = newAccount();
    const { key, id } = await signIn(gateway.url, account, { name: 'first', scopes: ALL_SCOPES });
    await gateway.database.$executeRaw`
      INSERT INTO api_key (key_hash, account_id)
      SELECT 'hash ' || i, ${account.id} FROM generate_series(1, 998) AS i`;
    const all = await Promise.all([1, 2, 3].map(() => make({ name: 'last' }, key)));
    assert.deepEqual(
      all.map(({ status }) => status).toSorted((a, b) => a - b),
      [201, 409, 409],
    );
    await gateway.database.apiKey.updateMany({
      where: { accountId: account.id, id: { not: id } },
      data: { revokedAt: new Date() },
    });
    assert.equal((await make({ name: 'more' }, key)).status, 201);
  });

  it('needs the scope keys', async () => {
    const { status, code } = await call('GET', '/v1/keys', { key: OTHER_KEY });
    assert.deepEqual([status, code], [403, 'gateway.scope_missing']);
  });
});
