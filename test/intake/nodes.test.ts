import assert from 'node:assert/strict';
import { createSecretKey, randomBytes, sign } from 'node:crypto';
import { exportSpki, generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { registerNode } from '../../intake/nodes.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';
import { readNode } from '../../prisma/pool.ts';
import { deletePoolNodes } from '../support/pool.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const secret = createSecretKey(randomBytes(32));

function failsAs(code: ErrorCode) {
  return (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

describe('intake/nodes', () => {
  let db: TestDatabase;
  let keys: NodeKeys;
  let others: NodeKeys;
  before(async () => {
    db = await freshDatabase();
    await seedOperators(db.database, ['op', 'other']);
    [keys, others] = await Promise.all([generateNodeKeys(), generateNodeKeys()]);
  });
  after(() => db.close());

  function registration(changed: object = {}, of: NodeKeys = keys) {
    return {
      nodeId: of.nodeId,
      name: 'n1',
      operatorId: 'op',
      tier: 2,
      workloadClasses: ['ai.inference'],
      modelId: INSTANT_MODEL.id,
      modelDigest: INSTANT_MODEL.digest,
      engine: 'instant/1',
      tokensPerSecond: 10,
      slots: 2,
      signingKey: exportSpki(of.signing.publicKey).toString('base64'),
      encryptionKey: exportSpki(of.encryption.publicKey).toString('base64'),
      issuedAtMs: Date.now(),
      ...changed,
    };
  }

  function signed(body: object, by: NodeKeys = keys) {
    const signature = sign('sha256', canonicalBytes(body), by.signing.privateKey);
    return { registration: body, signature: signature.toString('base64url') };
  }

  const slotsOf = async (id: string) => (await readNode(db.database, id))?.slotsTotal;

  it('registers a node once, however often it comes, with as many slots as it has', async () => {
    await registerNode(db.database, secret, signed(registration()));
    await registerNode(db.database, secret, signed(registration({ slots: 4, tier: 3 })));
    const nodes = await db.database.node.findMany();
    assert.deepEqual(
      nodes.map(({ id, tier, operatorId }) => [id, tier, operatorId]),
      [[keys.nodeId, 3, 'op']],
    );
    assert.equal(await slotsOf(keys.nodeId), 4);
    await registerNode(db.database, secret, signed(registration({ slots: 1 })));
    assert.equal(await slotsOf(keys.nodeId), 1);
  });

  it('does not bring a removed node back', async () => {
    await registerNode(db.database, secret, signed(registration()));
    await db.database.node.update({ where: { id: keys.nodeId }, data: { status: 'removed' } });
    await registerNode(db.database, secret, signed(registration()));
    assert.equal((await db.database.node.findFirst())?.status, 'removed');
  });

  it('refuses a node of an unknown operator, and one that changes its operator', async () => {
    const keys = await generateNodeKeys();
    const register = (operatorId: string) =>
      registerNode(db.database, secret, signed(registration({ operatorId }, keys), keys));
    await assert.rejects(register('nobody'), failsAs('node.operator_unknown'));
    assert.equal(await db.database.node.count({ where: { id: keys.nodeId } }), 0);
    await register('op');
    await assert.rejects(register('other'), failsAs('node.operator_mismatch'));
    await assert.rejects(register('nobody'), failsAs('node.operator_unknown'));
    const node = await db.database.node.findUnique({ where: { id: keys.nodeId } });
    assert.equal(node?.operatorId, 'op');
    await deletePoolNodes(db.database, [keys.nodeId]);
  });

  it('lets one operator have several nodes', async () => {
    await registerNode(db.database, secret, signed(registration()));
    await registerNode(db.database, secret, signed(registration({}, others), others));
    const operator = await db.database.operator.findUnique({
      where: { id: 'op' },
      include: { nodes: true },
    });
    const ids = operator?.nodes.map(({ id }) => id).toSorted();
    assert.deepEqual(ids, [keys.nodeId, others.nodeId].toSorted());
    await deletePoolNodes(db.database, [others.nodeId]);
  });

  it('refuses who does not hold the key, or signs something else', async () => {
    const cases: [object, ErrorCode][] = [
      [signed(registration(), others), 'node.registration_refused'],
      [signed(registration({ nodeId: others.nodeId })), 'node.registration_refused'],
      [
        { ...signed(registration()), registration: registration({ tier: 5 }) },
        'node.registration_refused',
      ],
      [signed(registration({ issuedAtMs: Date.now() - 600_000 })), 'node.registration_refused'],
      [signed(registration({ signingKey: 'AAAA' })), 'node.registration_invalid'],
      [signed(registration({ tier: 9 })), 'node.registration_invalid'],
      [signed(registration({ slots: 0 })), 'node.registration_invalid'],
      [signed(registration({ extra: 1 })), 'node.registration_invalid'],
      [signed(registration({ workloadClasses: ['mining'] })), 'node.registration_invalid'],
      [{}, 'node.registration_invalid'],
    ];
    for (const [body, code] of cases)
      await assert.rejects(registerNode(db.database, secret, body), failsAs(code));
  });

  it('ends the draining of a node, and changes no other status', async () => {
    for (const [before, after] of [
      ['draining', 'active'],
      ['active', 'active'],
      ['removed', 'removed'],
    ] as const) {
      await registerNode(db.database, secret, signed(registration()));
      await db.database.node.update({ where: { id: keys.nodeId }, data: { status: before } });
      await registerNode(db.database, secret, signed(registration()));
      const node = await db.database.node.findUniqueOrThrow({ where: { id: keys.nodeId } });
      assert.equal(node.status, after);
    }
  });
});
