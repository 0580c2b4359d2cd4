import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { dispatch as seal } from '../../activities/dispatch.ts';
import { receive } from '../../activities/receive.ts';
import { schedule } from '../../activities/schedule.ts';
import { checkReturn } from '../../activities/validate.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { CHAIN_ID, signedBinding } from '../../bench/signed-binding.ts';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { Commands } from '../../intake/commands.ts';
import { Relay, type RelayedFrame } from '../../intake/relay.ts';
import { createIntakeServer } from '../../intake/server.ts';
import { Attempts } from '../../nodes/attempts.ts';
import type { Channel } from '../../nodes/channel.ts';
import { execute } from '../../nodes/execute.ts';
import { listenForOutcomes, type OutcomeListener } from '../../prisma/outcomes.ts';
import { withNodeRecipient, wrapRecipient } from '../../protocol/envelope.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';
import { intakeCall, OPERATOR, receiveKeys, requester, seedInstant } from '../support/seeded.ts';
import { freePort, freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';
import {
  assertAlike,
  given,
  recordAnswers,
  type Answer,
  type Difference,
} from '../support/sight.ts';
import { startSideChannel, type SideChannel } from '../support/side-channel.ts';
import { until } from '../support/until.ts';

/** One node gets every attempt, as never happens, so that nothing of another node is in the way. */
const DIFFERENCES: readonly Difference[] = [
  {
    path: /^input\.envelope\.recipients\.0\.encrypted_key$/,
    why: 'ciphertext: RSA-OAEP is randomised',
  },
  { path: /^input\.ticket$/, why: 'ciphertext, of a key of its own' },
  { path: /^ticket\.dispatch$/, why: 'the opaque number of the attempt, always of ten digits' },
  { path: /^ticket\.channelToken$/, why: 'a MAC that only the coordinator can check' },
  { path: /^answers\.\d+\.headers\.date$/, why: 'time, which passes for every attempt' },
];
const EDGE_TOKEN = 'edge-token-of-this-test';

describe('nodes: what a node sees of an attempt', () => {
  const channelSecret = createSecretKey(randomBytes(32));
  const relay = new Relay(channelSecret, [requester]);
  const commands = new Commands(channelSecret);
  let db: TestDatabase;
  let connection: Connection;
  let outcomes: OutcomeListener;
  let app: FastifyInstance;
  let url: string;
  let edge: SideChannel;
  let keys: NodeKeys;

  before(async () => {
    keys = await generateNodeKeys();
    connection = await Connection.connect({ address: (await testServers()).temporalAddress });
    db = await freshDatabase();
    await seedInstant(db.database);
    outcomes = await listenForOutcomes(db.url, () => {});
    app = createIntakeServer({
      database: db.database,
      keys: receiveKeys,
      client: new Client({ connection }),
      outcomes,
      relay,
      log: pino({ level: 'silent' }),
      intakeToken: 'test-intake-token-0123456789',
      edgeToken: EDGE_TOKEN,
      channelSecret,
      intakeKey: requester.publicJwk,
      returnKey: requester.publicJwk,
      onNodeSeen: () => {},
      onAccepted: () => {},
      commands,
      join: 'token',
      chainId: CHAIN_ID,
    });
    const port = await freePort();
    await app.listen({ host: '127.0.0.1', port });
    url = `http://127.0.0.1:${port}`;
    const { database } = db;
    edge = await startSideChannel({ coordinatorUrl: url, edgeToken: EDGE_TOKEN, database });
  });
  after(async () => {
    await edge.close();
    await app.close();
    await outcomes.close();
    await db.close();
    await connection.close();
  });

  async function accepted(): Promise<AcceptedInference> {
    return (await receive(db.database, receiveKeys, await intakeCall({ stream: true }))).accepted;
  }

  /** The node registers, and hears commands. */
  async function connected(channel: Channel, signal: AbortSignal) {
    const { challenge } = await channel.register({
      name: 'node',
      binding: await signedBinding(keys.nodeId, OPERATOR),
      tier: 1,
      workloadClasses: ['ai.inference'],
      modelId: INSTANT_MODEL.id,
      modelDigest: INSTANT_MODEL.digest,
      engine: 'instant/1',
      tokensPerSecond: 1_000,
      slots: 8,
    });
    const measured = { status: 'active', tokensPerSecond: 1_000, probeUntil: null };
    await db.database.node.update({ where: { id: keys.nodeId }, data: measured });
    const heard: string[] = [];
    const listening = channel.commands(({ type }) => heard.push(type), signal).catch(() => {});
    await until(() => heard.length === 1, 'the command stream');
    return { challenge, heard, listening };
  }

  /** Steps 3 and 4, and what the workflow assembles of them. */
  async function assigned(request: AcceptedInference, dispatch: number, isCheck: boolean) {
    const { requestId: unitId, parameters, envelope, requesterKey, seed } = request;
    const found = await schedule(db.database, url, { unitId, dispatch, usedNodes: [], request });
    const node = found.kind === 'assigned' ? found.node : assert.fail(found.kind);
    const attempt = { unitId, dispatch, node };
    const sealable = { parameters, seed, wrappedKey: wrapRecipient(envelope) };
    const { encryptedKey, kid, ticket, attemptNumber } = await seal(
      { wrapRing: receiveKeys.wrapRing, channelSecret },
      { ...attempt, isCheck, request: sealable },
    );
    const sent = withNodeRecipient(envelope, encryptedKey, kid);
    const input = { envelope: sent, ticket, parameters, requesterKey };
    return { input, attempt: { ...attempt, attemptNumber } };
  }

  /** Everything that the node sees of one attempt, from its registration until it has returned. */
  async function sight(request: AcceptedInference, dispatch: number, isCheck = false) {
    const answers: Answer[] = [];
    const stop = recordAnswers(answers);
    const gone = new AbortController();
    const channel = await edge.channel(keys);
    const attempts = new Attempts();
    try {
      const { heard, listening, ...first } = await connected(channel, gone.signal);
      let { challenge } = first;
      const beat = async () => {
        const state = { ready: true, running: attempts.list() };
        const answer = await channel.heartbeat(challenge, state);
        challenge = answer.challenge ?? assert.fail('a challenge');
        return !answer.isReplayed;
      };
      assert.ok(await beat());
      const { input, attempt } = await assigned(request, dispatch, isCheck);
      const instant = instantBackend();
      const returned = await execute(
        {
          keys,
          backend: {
            ...instant,
            async generate(...call) {
              assert.ok(await beat());
              const undecided = await channel.drain();
              assert.deepEqual(undecided.at(-1), attempts.list()[0], 'it knows it by that number');
              return instant.generate(...call);
            },
          },
          returnKey: () => requester.publicJwk,
          attempts,
          openStream: (ticket) => channel.openStream(ticket, ticket.channelToken, assert.fail),
        },
        input,
        {
          cancelled: new AbortController().signal,
          isCancelRequested: () => false,
          heartbeat: () => {},
        },
      );
      const { parameters, modelDigest, payloadBytes, seed } = request;
      const checked = await checkReturn(
        { returnRing: [requester], relayed: (...of) => relay.relayed(...of) },
        { ...attempt, returned, request: { parameters, modelDigest, payloadBytes, seed } },
      );
      assert.equal(checked.result.choices[0]?.text, 'one two three');
      const { nodeId } = attempt.node;
      await db.database.dispatch.updateMany({ data: { outcome: 'accepted' } });
      assert.ok(await beat());
      // The next attempt's heartbeats are to answer the same challenges.
      await db.database.node.update({ where: { id: nodeId }, data: { heartbeatSequence: 0 } });
      commands.cancel({ unitId: attempt.unitId, dispatch, nodeId });
      await until(() => heard.length === 2, 'the command');
      gone.abort();
      await listening;
      const seen = await given(input, keys);
      // Only the number that the ticket has told may be there, so that is all that may differ.
      const masked = answers.map(({ call, body, ...answer }) => ({
        ...answer,
        call: call.replace(`/${seen.ticket.dispatch}/`, '/<number>/'),
        body: body.replace(`"dispatch":${seen.ticket.dispatch}}`, '"dispatch":<number>}'),
      }));
      return { ...seen, answers: masked, heard };
    } finally {
      stop();
    }
  }

  it('is the same for the first, another one, and a check, whenever that comes', async () => {
    const request = await accepted();
    const frames: RelayedFrame[] = [];
    const release = relay.hold(request.requestId);
    relay.subscribe(request.requestId, (frame) => frames.push(frame) > 0);
    const first = await sight(request, 1);
    assert.deepEqual(
      first.answers.map(({ call, status }) => [call.replace(/^(\w+) .*\//, '$1 '), status]),
      [
        ['POST register', 200],
        ['GET commands', 200],
        ['POST heartbeat', 200],
        ['POST heartbeat', 200],
        ['POST drain', 200],
        ['POST frames', 204],
        ['POST heartbeat', 200],
      ],
    );
    assert.equal(frames.length, 5, 'key, three words, end');
    const checkMeanwhile = await sight(request, 2, true);
    const delivered = frames.length;
    const another = await sight(request, 3);
    assert.equal(frames.length, 10);
    release();
    const checkAfterwards = await sight(request, 4, true);
    const tooLate = await sight(request, 5);
    assert.deepEqual([delivered, frames.length], [5, 10], 'no frame of a check gets through');
    assert.match(first.answers[1]?.body ?? '', /"cancel".*<number>/);
    assert.match(first.answers[4]?.body ?? '', /"attempts".*<number>/);
    for (const other of [checkMeanwhile, another, checkAfterwards, tooLate])
      assertAlike(first, other, DIFFERENCES);
  });
});
