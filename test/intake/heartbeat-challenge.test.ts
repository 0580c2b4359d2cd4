import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import pino from 'pino';
import { challengeOf } from '../../crypto/heartbeat.ts';
import { drain, heartbeat, leave, nextChallenge } from '../../intake/heartbeat.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import { formatNodeId, type NodeId } from '../../protocol/ids.ts';
import type { Challenge } from '../../protocol/presence.ts';
import { addPoolNode } from '../support/pool.ts';
import { transitions } from '../support/presence.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const secret = createSecretKey(randomBytes(32));
const log = pino({ level: 'silent' });

function failsAs(code: ErrorCode) {
  return (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

describe('intake/heartbeat: challenges', () => {
  let db: TestDatabase;
  let nodeId: NodeId;
  before(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  beforeEach(async () => {
    nodeId = await addPoolNode(db.database, { isOnline: false });
  });
  after(() => db.close());

  const dependencies = () => ({ database: db.database, channelSecret: secret, log });
  const row = () => db.database.node.findUniqueOrThrow({ where: { id: nodeId } });

  it('takes a well-formed body, of nodes that are known', async () => {
    const at = dependencies();
    const body = { ready: true, running: [], ...(await nextChallenge(at, nodeId)) };
    const invalid = failsAs('node.heartbeat_invalid');
    const { nonce, ...without } = body;
    for (const bad of [undefined, {}, { ...body, extra: 1 }, without, { ...body, sequence: -1 }])
      await assert.rejects(heartbeat(at, nodeId, bad), invalid);
    await assert.rejects(heartbeat(at, nodeId, { ...body, sequence: 2 ** 31 }), invalid);
    const unknown = failsAs('node.unknown');
    const other = formatNodeId(randomBytes(32));
    for (const challenge of [challengeOf(secret, other, 0), { sequence: 0, nonce }])
      await assert.rejects(heartbeat(at, other, { ...body, ...challenge }), unknown);
    await assert.rejects(nextChallenge(at, other), unknown);
    await assert.rejects(drain(at, other), unknown);
    await assert.rejects(leave(at, other), unknown);
    assert.deepEqual(await transitions(db.database, nodeId), []);
  });

  it('takes one answer to each challenge, in their order, and gives the next', async () => {
    const answer = (challenge: Challenge, by = nodeId) =>
      heartbeat(dependencies(), by, { ready: true, running: [], ...challenge });
    const replayed = failsAs('node.heartbeat_replayed');
    const first = await nextChallenge(dependencies(), nodeId);
    assert.equal(first.sequence, 0);
    const answers = await Promise.allSettled([1, 2, 3, 4].map(() => answer(first)));
    const [taken, ...more] = answers.filter(({ status }) => status === 'fulfilled');
    assert.ok(taken && more.length === 0, 'one of those that came at once');
    const { lastSeenAt } = await row();
    const second = await nextChallenge(dependencies(), nodeId);
    assert.equal(second.sequence, 1);
    // Played again, guessed ahead, of another node, of another number.
    const other = await addPoolNode(db.database, {});
    const { nonce } = await nextChallenge(dependencies(), other);
    const hostile = [first, { ...second, nonce: first.nonce }, { ...second, nonce }];
    for (const challenge of [...hostile, { sequence: 2, nonce: second.nonce }])
      await assert.rejects(answer(challenge), replayed);
    await assert.rejects(answer(challengeOf(secret, nodeId, 2)), replayed, 'out of order');
    assert.deepEqual((await row()).lastSeenAt, lastSeenAt, 'none of it was a sign of life');
    const { next } = await answer(second);
    assert.deepEqual(next, challengeOf(secret, nodeId, 2));
    assert.deepEqual(await nextChallenge(dependencies(), nodeId), next);
  });
});
