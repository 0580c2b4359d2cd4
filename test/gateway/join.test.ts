import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { admitNode } from '../../intake/admission.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { ADMIN_KEY, startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';

const admin = { key: ADMIN_KEY };
const nodeId = formatNodeId(new Uint8Array(32).fill(3));

describe('gateway/join', () => {
  let gateway: LoneGateway;
  before(async () => {
    gateway = await startLoneGateway();
  });
  after(() => gateway.stop());
  afterEach(() => gateway.database.joinToken.deleteMany());

  const make = (body: object = {}) => gateway.call('POST', '/v1/join-tokens', { ...admin, body });

  it('is for admin keys alone', async () => {
    const { body } = await make();
    for (const [method, path] of [
      ['POST', '/v1/join-tokens'],
      ['GET', '/v1/join-tokens'],
      ['DELETE', `/v1/join-tokens/${body.id}`],
    ] as const) {
      const { status, code } = await gateway.call(method, path);
      assert.deepEqual([status, code], [403, 'gateway.admin_required'], method);
      assert.equal((await gateway.call(method, path, { key: 'wrong' })).status, 401);
    }
    assert.equal(await gateway.database.joinToken.count(), 1);
  });

  it('shows a token once, which lets a node in, and keeps its hash alone', async () => {
    const { status, body } = await make({ uses: 3, expires_in_seconds: 60 });
    assert.equal(status, 201);
    const { token = '', id } = body;
    assert.match(token, /^plx-join-[\w-]{32}$/);
    assert.equal(id, `jt_${createHash('sha256').update(token).digest('hex')}`);
    const lifeMs = Date.parse(body.expires_at) - Date.now();
    assert.ok(lifeMs > 50_000 && lifeMs < 61_000, String(lifeMs));
    await admitNode(gateway.database, 'token', nodeId, token);
    const list = await gateway.call('GET', '/v1/join-tokens', admin);
    assert.deepEqual(
      list.body.data.map((each) => [each.id, each.uses_left]),
      [[id, 2]],
    );
    const stored = await gateway.database.joinToken.findMany();
    const told = JSON.stringify([list.body, stored, gateway.logged]);
    assert.ok(!told.includes(token.slice('plx-join-'.length)), 'the token is nowhere');
  });

  it('lists those that let somebody in, latest first, by pages', async () => {
    const [first, second] = [await make(), await make()];
    const { database } = gateway;
    const gone = new Date(Date.now() - 1_000);
    const other = (hash: string) => ({ hash: hash.repeat(64), usesLeft: 1, expiresAt: gone });
    await database.joinToken.create({ data: other('a') });
    await database.joinToken.create({
      data: { ...other('b'), usesLeft: 0, expiresAt: new Date(Date.now() + 60_000) },
    });
    const all = await gateway.call('GET', '/v1/join-tokens', admin);
    assert.deepEqual(
      all.body.data.map(({ id }) => id),
      [second.body.id, first.body.id],
    );
    const one = await gateway.call('GET', '/v1/join-tokens?limit=1', admin);
    assert.deepEqual([one.body.last_id, one.body.has_more], [second.body.id, true]);
    const path = `/v1/join-tokens?limit=1&after=${second.body.id}`;
    const next = await gateway.call('GET', path, admin);
    assert.deepEqual([next.body.last_id, next.body.has_more], [first.body.id, false]);
  });

  it('has no page behind a token that is none', async () => {
    const path = `/v1/join-tokens?after=jt_${'0'.repeat(64)}`;
    const { status, code } = await gateway.call('GET', path, admin);
    assert.deepEqual([status, code], [404, 'gateway.join_token_not_found']);
  });

  it('ends a token, once', async () => {
    const { body } = await make({ uses: 5 });
    const path = `/v1/join-tokens/${body.id}`;
    const ended = await gateway.call('DELETE', path, admin);
    assert.deepEqual([ended.status, ended.body.id], [200, body.id]);
    await assert.rejects(admitNode(gateway.database, 'token', nodeId, body.token), {
      code: 'node.join_refused',
    });
    for (const again of [path, '/v1/join-tokens/x', `/v1/join-tokens/jt_${'0'.repeat(64)}`]) {
      const { status, code } = await gateway.call('DELETE', again, admin);
      assert.deepEqual([status, code], [404, 'gateway.join_token_not_found']);
    }
  });

  it('refuses what makes no sense, by the name of the field', async () => {
    for (const [body, param] of [
      [{ uses: 0 }, 'uses'],
      [{ uses: 1_001 }, 'uses'],
      [{ uses: 1.5 }, 'uses'],
      [{ uses: '1' }, 'uses'],
      [{ expires_in_seconds: 0 }, 'expires_in_seconds'],
      [{ expires_in_seconds: 30 * 86_400 + 1 }, 'expires_in_seconds'],
      [{ token: 'of my own' }, 'token'],
    ] as const) {
      const { status, body: answer } = await make(body);
      assert.deepEqual([status, answer.error?.param], [400, param]);
    }
    assert.equal(await gateway.database.joinToken.count(), 0);
  });
});
