import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ContextExceededError } from '../../nodes/backends/backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { historyOf, record } from '../support/history.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { balances } from '../support/seeded.ts';
import { startTestNode, type Behaviour, type TestNode } from '../support/test-node.ts';
import { FAULTS, tampered } from '../support/faults.ts';

describe('workflows: a faulty return is never accepted', () => {
  let network: Coordination;
  let honest: TestNode;
  before(async () => {
    network = await startCoordination();
    honest = await start('honest', 2);
  });
  after(async () => {
    await honest.stop();
    await network.stop();
  });

  function start(
    name: string,
    tier: number,
    behaviour?: Behaviour,
    backend = instantBackend(),
  ): Promise<TestNode> {
    const { database, edge } = network;
    const base = { database, edge, backend, name, tier };
    return startTestNode(behaviour ? { ...base, behaviour } : base);
  }

  async function stop(node: TestNode): Promise<void> {
    await node.stop();
    await network.database.node.update({
      where: { id: node.keys.nodeId },
      data: { status: 'removed' },
    });
  }

  const chat = (stream = false) =>
    network.chat({
      model: 'instant',
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: 16,
      stream,
    });

  for (const { name, code, behaviour, stream, blameless } of FAULTS)
    it(`a node that ${name}: ${code}, and another node serves the request`, async () => {
      const before = await balances(network.database);
      // The smallest node comes first, so the faulty one gets the unit.
      const faulty = await start('faulty', 1, behaviour);
      try {
        const response = await chat(stream);
        const text = await response.text();
        assert.equal(response.status, 200, text);
        const id = response.headers.get('x-request-id') ?? '';
        const view = await network.ended(id);
        assert.equal(view.status, 'completed');
        assert.equal(view.result?.choices[0]?.message.content, 'one two three');
        assert.equal(view.proof_of_execution?.node, honest.keys.nodeId);
        assert.equal(view.proof_of_execution?.dispatch, 2);
        assert.equal(faulty.executed(), 1);
        const events = await network.database.failureEvent.findMany({ where: { unitId: id } });
        assert.deepEqual(
          events.map((event) => [event.code, event.dispatch, event.nodeId, event.recovery]),
          [[code, 1, faulty.keys.nodeId, 'redispatch']],
        );
        const flags = await network.database.nodeEvent.findMany({ where: { unitId: id } });
        assert.deepEqual(
          flags.map((flag) => [flag.code, flag.nodeId]),
          blameless ? [] : [[code, faulty.keys.nodeId]],
        );
        // Paid once, for the attempt that was accepted.
        const after = await balances(network.database);
        const spent = (before['acct_demo:available'] ?? 0n) - (after['acct_demo:available'] ?? 0n);
        assert.equal(spent, BigInt(view.charged_wei));
        assert.equal(after['acct_demo:reserved'], 0n);
        if (code === 'poe.hash_mismatch')
          await record(await historyOf(network.client, id), 'poe-fault');
      } finally {
        await stop(faulty);
      }
    });

  it('takes a return that cannot be decoded for a malformed one', async () => {
    const faulty = await startTestNode({
      database: network.database,
      edge: network.edge,
      backend: instantBackend(),
      name: 'garbled',
      tier: 1,
      payloadConverterPath: join(import.meta.dirname, '../support/broken-converter.cjs'),
    });
    try {
      const response = await chat();
      assert.equal(response.status, 200, await response.clone().text());
      const view = await network.ended(response.headers.get('x-request-id') ?? '');
      assert.equal(view.proof_of_execution?.node, honest.keys.nodeId);
      const [event] = await network.database.failureEvent.findMany({ where: { unitId: view.id } });
      assert.equal(event?.code, 'poe.malformed');
      assert.equal(faulty.executed(), 1);
    } finally {
      await stop(faulty);
    }
  });

  it('delivers a result that its node sealed to the coordinator only', async () => {
    const sly = await start(
      'sly',
      1,
      tampered(async (returned) => {
        const { sealedResult } = returned;
        const [requester, coordinator] = sealedResult.recipients;
        const encrypted_key = randomBytes(40).toString('base64url');
        const recipients = [{ ...requester, encrypted_key }, coordinator];
        return { ...returned, sealedResult: { ...sealedResult, recipients } };
      }),
    );
    try {
      const response = await chat();
      assert.equal(response.status, 200, await response.clone().text());
      const view = await network.ended(response.headers.get('x-request-id') ?? '');
      assert.equal(view.proof_of_execution?.node, sly.keys.nodeId);
      assert.equal(view.result?.choices[0]?.message.content, 'one two three');
    } finally {
      await stop(sly);
    }
  });

  it('fails, free of charge, when no dispatch of the budget yields a good PoE', async () => {
    await stop(honest);
    const liars = await Promise.all(
      [1, 2, 3, 4].map((tier) =>
        start(
          `liar-${tier}`,
          tier,
          tampered(async (honest) => ({ ...honest, poe: '0'.repeat(64) })),
        ),
      ),
    );
    try {
      const before = await balances(network.database);
      const response = await chat();
      assert.equal(response.status, 502);
      const id = response.headers.get('x-request-id') ?? '';
      const view = await network.ended(id);
      assert.deepEqual([view.status, view.error?.code], ['failed', 'poe.hash_mismatch']);
      assert.equal(view.charged_wei, '0');
      assert.deepEqual(await balances(network.database), before);
      // Three dispatches for PoE faults, to three different nodes.
      assert.deepEqual(
        liars.map((liar) => liar.executed()),
        [1, 1, 1, 0],
      );
      await record(await historyOf(network.client, id), 'budget-used-up');
    } finally {
      await Promise.all(liars.map(stop));
    }
  });

  it('rejects a request only when a second node says the same of it', async () => {
    const refusing = instantBackend({
      answer: () => {
        throw new ContextExceededError({ promptTokens: 9, maxTokens: 16, contextTokens: 10 });
      },
    });
    const nodes = await Promise.all(
      [1, 2, 3].map((tier) => start(`node-${tier}`, tier, undefined, refusing)),
    );
    try {
      const response = await chat();
      assert.equal(response.status, 400);
      const view = await network.ended(response.headers.get('x-request-id') ?? '');
      assert.deepEqual([view.status, view.error?.code], ['rejected', 'execute.context_exceeded']);
      assert.equal(view.charged_wei, '0');
      assert.deepEqual(
        nodes.map((node) => node.executed()),
        [1, 1, 0],
      );
    } finally {
      await Promise.all(nodes.map(stop));
    }
  });

  it('rejects a request at once when the only node of the pool refuses it', async () => {
    const refusing = instantBackend({
      answer: () => {
        throw new ContextExceededError({ promptTokens: 9, maxTokens: 16, contextTokens: 10 });
      },
    });
    const only = await start('only', 1, undefined, refusing);
    try {
      const response = await chat();
      assert.equal(response.status, 400);
      const view = await network.ended(response.headers.get('x-request-id') ?? '');
      assert.deepEqual([view.status, view.error?.code], ['rejected', 'execute.context_exceeded']);
      assert.deepEqual([view.charged_wei, only.executed()], ['0', 1]);
    } finally {
      await stop(only);
    }
  });
});
