import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { drawJoinToken, joinTokenHash } from '../../crypto/join-token.ts';
import { admitNode } from '../../intake/admission.ts';
import { storeJoinToken } from '../../prisma/join-tokens.ts';
import { formatNodeId, type NodeId } from '../../protocol/ids.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const refused = { code: 'node.join_refused' };

describe('intake/admission', () => {
  let db: TestDatabase;
  before(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  after(() => db.close());

  const stranger = (): NodeId => formatNodeId(randomBytes(32));
  const admit = (nodeId: NodeId, token?: string) => admitNode(db.database, 'token', nodeId, token);

  async function invite(uses = 1, lifeSeconds = 60): Promise<string> {
    const token = drawJoinToken();
    await storeJoinToken(db.database, joinTokenHash(token), uses, lifeSeconds);
    return token;
  }

  async function usesLeft(token: string): Promise<number | undefined> {
    const hash = joinTokenHash(token);
    return (await db.database.joinToken.findUnique({ where: { hash } }))?.usesLeft;
  }

  it('takes anybody in an open network, and leaves tokens alone', async () => {
    const token = await invite();
    await admitNode(db.database, 'open', stranger());
    await admitNode(db.database, 'open', stranger(), token);
    await admitNode(db.database, 'open', stranger(), 'nonsense');
    assert.equal(await usesLeft(token), 1);
  });

  it('takes a stranger with a token, as often as that has uses', async () => {
    const token = await invite(2);
    await admit(stranger(), token);
    await admit(stranger(), token);
    await assert.rejects(admit(stranger(), token), refused);
    assert.equal(await usesLeft(token), 0);
  });

  it('refuses a stranger with no token, an unknown one, a hash, or an old one', async () => {
    const token = await invite();
    const late = await invite(1, -1);
    for (const wrong of [undefined, '', 'nonsense', joinTokenHash(token), `${token} `, late])
      await assert.rejects(admit(stranger(), wrong), refused, wrong);
    assert.deepEqual([await usesLeft(token), await usesLeft(late)], [1, 1]);
  });

  it('takes who was let in before without one, and uses none up', async () => {
    const token = await invite();
    const registered = await addPoolNode(db.database);
    const certified = stranger();
    const expiresAt = new Date(0);
    await db.database.nodeCertificate.create({
      data: { serial: '01', nodeId: certified, expiresAt },
    });
    for (const nodeId of [registered, certified]) {
      await admit(nodeId);
      await admit(nodeId, token);
      await admit(nodeId, 'nonsense');
    }
    assert.equal(await usesLeft(token), 1);
  });

  it('never takes more at once than a token has uses', async () => {
    const token = await invite(3);
    const asked = Array.from({ length: 24 }, () => admit(stranger(), token));
    const outcomes = await Promise.allSettled(asked);
    const taken = outcomes.filter(({ status }) => status === 'fulfilled');
    assert.equal(taken.length, 3);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected')
        assert.equal((outcome.reason as { code: string }).code, 'node.join_refused');
    assert.equal(await usesLeft(token), 0);
  });
});
