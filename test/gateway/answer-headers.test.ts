import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { receive } from '../../activities/receive.ts';
import { answerHeaders } from '../../gateway/answer-headers.ts';
import { readAnswerFacts } from '../../prisma/answers.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

describe('gateway/answer-headers', () => {
  const facts = { attempts: 2, node: 'nd_1', costWei: '5', executionMs: 80.25 };

  it('says what the network added to the execution', () => {
    assert.deepEqual(answerHeaders(facts, 100), {
      'x-plx-attempts': '2',
      'x-plx-cost-wei': '5',
      'x-plx-node': 'nd_1',
      'x-plx-overhead-ms': '19.8',
    });
  });

  it('believes no node that claims to have taken longer than all, or less than nothing', () => {
    const overhead = (executionMs: number) =>
      answerHeaders({ ...facts, executionMs }, 100)['x-plx-overhead-ms'];
    assert.equal(overhead(1e9), '0.0');
    assert.equal(overhead(-1e9), '100.0');
  });

  it('says nothing of a result that there is not', () => {
    const none = { attempts: 1, node: null, costWei: '0', executionMs: null };
    assert.deepEqual(answerHeaders(none, 100), { 'x-plx-attempts': '1', 'x-plx-cost-wei': '0' });
  });

  describe('from the record', () => {
    let db: TestDatabase;
    before(async () => {
      db = await freshDatabase();
      await seedInstant(db.database);
    });
    after(() => db.close());

    it('counts attempts without checks, and tells the cost before it is charged', async () => {
      const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
      const id = accepted.requestId;
      const node = formatNodeId(randomBytes(32));
      const none = { attempts: 0, node: null, costWei: '0', executionMs: null };
      assert.deepEqual(await readAnswerFacts(db.database, id), none);
      for (const [dispatch, isCheck] of [
        [1, false],
        [2, false],
        [3, true],
      ] as const)
        await db.database.dispatch.create({
          data: {
            unitId: id,
            dispatch,
            nodeId: node,
            coordinator: 'http://127.0.0.1:1',
            isCheck,
            decryptedAt: new Date(1_000),
            finishedAt: new Date(1_000 + 10 * dispatch),
          },
        });
      await db.database.request.update({
        where: { id },
        data: { dueWei: '7', proof: { node, dispatch: 2 } },
      });
      const answered = { attempts: 2, node, costWei: '7', executionMs: 20 };
      assert.deepEqual(await readAnswerFacts(db.database, id), answered);
      await db.database.request.update({
        where: { id },
        data: { finishedAt: new Date(), chargedWei: '6' },
      });
      assert.equal((await readAnswerFacts(db.database, id))?.costWei, '6');
    });

    it('knows nothing of a request that there is not', async () => {
      assert.equal(await readAnswerFacts(db.database, 'req_none'), undefined);
    });
  });
});
