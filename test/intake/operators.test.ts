import assert from 'node:assert/strict';
import { CHAIN_ID, signedBinding, testOperator } from '../../bench/signed-binding.ts';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { registerNode } from '../../intake/nodes.ts';
import { BINDING_SECONDS_MAX } from '../../protocol/binding.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';
import { deletePoolNodes } from '../support/pool.ts';
import { registerAs, registrar, registration, signedBy } from '../support/registration.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const nowSeconds = () => Math.floor(Date.now() / 1_000);

function failsAs(code: ErrorCode) {
  return (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

describe('intake/operators', () => {
  let db: TestDatabase;
  let at: ReturnType<typeof registrar>;
  let keys: NodeKeys;
  let others: NodeKeys;
  before(async () => {
    db = await freshDatabase();
    at = registrar(db.database);
    await seedOperators(db.database, ['op', 'other'].map(testOperator));
    [keys, others] = await Promise.all([generateNodeKeys(), generateNodeKeys()]);
  });
  after(() => db.close());

  const register = (changed: object = {}, of: NodeKeys = keys, operatorId?: string) =>
    registerAs(at, of, changed, operatorId);

  it('keeps the operator that first signed for a node', async () => {
    const fresh = await generateNodeKeys();
    await register({}, fresh);
    await assert.rejects(register({}, fresh, 'other'), failsAs('node.operator_mismatch'));
    const renewed = await signedBinding(fresh.nodeId, 'op', { expiresAt: nowSeconds() + 500 });
    await register({ binding: renewed }, fresh);
    const node = await db.database.node.findUniqueOrThrow({ where: { id: fresh.nodeId } });
    assert.deepEqual([node.operatorId, node.binding], ['op', renewed]);
    await deletePoolNodes(db.database, [fresh.nodeId]);
  });

  it('takes no node over from an operator that has no address', async () => {
    const fresh = await generateNodeKeys();
    await register({}, fresh);
    await db.database.operator.create({ data: { id: 'old', name: 'old' } });
    await db.database.node.update({ where: { id: fresh.nodeId }, data: { operatorId: 'old' } });
    await assert.rejects(register({}, fresh), failsAs('node.operator_mismatch'));
    await deletePoolNodes(db.database, [fresh.nodeId]);
  });

  it('refuses a node that no operator has signed for, now and here', async () => {
    const { nodeId } = keys;
    const good = await signedBinding(nodeId, 'op');
    const { address } = testOperator('other');
    const bindings: unknown[] = [
      null,
      {},
      'op',
      { ...good, extra: 1 },
      { ...good, operator: address },
      { ...good, expiresAt: good.expiresAt + 1 },
      { ...good, signature: '0x' },
      await signedBinding(others.nodeId, 'op'),
      await signedBinding(nodeId, 'op', { chainId: CHAIN_ID + 1 }),
      await signedBinding(nodeId, 'op', { expiresAt: nowSeconds() - 1 }),
      await signedBinding(nodeId, 'op', { expiresAt: nowSeconds() + BINDING_SECONDS_MAX + 60 }),
    ];
    for (const binding of bindings)
      await assert.rejects(register({ binding }), failsAs('node.binding_invalid'));
    const { binding: _, ...without } = await registration(keys);
    await assert.rejects(
      registerNode(at, signedBy(keys, without)),
      failsAs('node.binding_invalid'),
    );
    const long = nowSeconds() + BINDING_SECONDS_MAX - 60;
    await register({ binding: await signedBinding(nodeId, 'op', { expiresAt: long }) });
  });

  it('opens an account for an unknown operator in an open network, and in no other', async () => {
    const [first, second] = await Promise.all([generateNodeKeys(), generateNodeKeys()]);
    const { address } = testOperator('newcomer');
    await assert.rejects(register({}, first, 'newcomer'), failsAs('node.operator_unknown'));
    const opened = () => db.database.operator.findMany({ where: { address } });
    assert.deepEqual(await opened(), []);
    const open = registrar(db.database, 'open');
    await Promise.all([first, second].map((of) => registerAs(open, of, {}, 'newcomer')));
    assert.deepEqual(
      (await opened()).map(({ id, name }) => [id, name]),
      [[address, address]],
    );
    // One that is known goes by its own id there, too.
    await registerAs(open, keys);
    const ids = [first.nodeId, second.nodeId];
    const nodes = await db.database.node.findMany({ where: { id: { in: ids } } });
    assert.deepEqual(
      nodes.map(({ operatorId }) => operatorId),
      [address, address],
    );
    // In a network that is no longer open it is known.
    await register({}, first, 'newcomer');
    await deletePoolNodes(db.database, ids);
  });
});
