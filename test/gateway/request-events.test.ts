import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import {
  followedEvents,
  intakeEvents,
  type RequestEvent,
  type RequestSource,
} from '../../gateway/request-events.ts';
import { CodedError } from '../../protocol/errors.ts';
import type { IntakeEvent } from '../../protocol/intake.ts';
import { startGatewayStub, type GatewayStub } from '../support/gateway-stub.ts';
import { intakeCall } from '../support/seeded.ts';
import { freePort } from '../support/servers.ts';
import { until } from '../support/until.ts';

const requestId = `req_${'0'.repeat(64)}`;
const acceptedAtMs = 1_000;
const accepted = { type: 'accepted', requestId, acceptedAtMs } as const;
const failed = { type: 'outcome', state: 'failed', code: 'execute.cancelled' } as const;
const frame = (dispatch: number) =>
  ({ type: 'frame', dispatch, attemptNumber: 1, node: 'nd_1', frame: 'sealed' }) as const;

/** A coordinator that says what a test says. */
interface FakeCoordinator extends GatewayStub {
  readonly calls: string[];
  say(...events: IntakeEvent[]): void;
  /** Breaks its connections, and has none any more if it is `forGood`. */
  breakOff(forGood?: boolean): Promise<void>;
}

async function startCoordinator(): Promise<FakeCoordinator> {
  const calls: string[] = [];
  const open: ServerResponse[] = [];
  const stub = await startGatewayStub((path, response) => {
    calls.push(path);
    open.push(response);
    response.writeHead(200);
    response.flushHeaders();
  });
  return {
    ...stub,
    calls,
    say: (...events) => {
      for (const event of events) open.at(-1)?.write(`${JSON.stringify(event)}\n`);
    },
    async breakOff(forGood = false) {
      for (const response of open.splice(0)) response.destroy();
      if (forGood) await stub.stop();
    },
  };
}

describe('gateway/request-events', () => {
  let own: FakeCoordinator;
  let other: FakeCoordinator;
  /** What the database says. */
  let stored: { sealedResult: null; finishedAt: Date; failureCode: string } | undefined;
  let streamsTo: string | undefined;
  let isDatabaseAway = false;
  let source: RequestSource;
  let gone: AbortController;
  beforeEach(async () => {
    [own, other] = [await startCoordinator(), await startCoordinator()];
    [stored, streamsTo, isDatabaseAway] = [undefined, undefined, false];
    gone = new AbortController();
    const $queryRaw = async (sql: readonly string[]) => {
      if (isDatabaseAway) throw new Error('away');
      if (sql.join('').includes('FROM dispatch'))
        return streamsTo ? [{ coordinator: streamsTo }] : [];
      return stored ? [stored] : [];
    };
    const database = { $queryRaw } as unknown as RequestSource['database'];
    source = { database, coordinatorUrl: own.url, intakeToken: 'token' };
  });
  afterEach(async () => {
    gone.abort();
    await Promise.all([own.stop(), other.stop()].map((each) => each.catch(() => {})));
  });

  const ended = () => ({ sealedResult: null, finishedAt: new Date(), failureCode: failed.code });
  const follow = (untilEnd = false, deadlineSeconds = 30) =>
    collect(
      followedEvents(
        source,
        { requestId, acceptedAtMs, untilEnd, deadlineSeconds, isStreamed: true },
        gone.signal,
      ),
    );
  const call = async (untilEnd = false) =>
    collect(
      intakeEvents(source, { ...(await intakeCall({ stream: true })), untilEnd }, gone.signal),
    );

  function collect(events: AsyncIterable<RequestEvent>) {
    const got: RequestEvent[] = [];
    const over = (async () => {
      for await (const event of events) got.push(event);
      return got;
    })();
    over.catch(() => {});
    return { got, over };
  }

  it('says what is stored, and asks nobody', async () => {
    stored = ended();
    assert.deepEqual(await follow().over, [accepted, failed]);
    assert.deepEqual(await follow(true).over, [accepted, failed, { type: 'ended' }]);
    assert.deepEqual([own.calls, other.calls], [[], []]);
  });

  it('follows where the latest attempt streams to', async () => {
    streamsTo = other.url;
    const { got, over } = follow();
    await until(() => other.calls.length > 0, 'its call');
    other.say(accepted, { type: 'ping' }, frame(1));
    await until(() => got.length === 3, 'its frame');
    other.say(failed);
    assert.deepEqual(await over, [accepted, accepted, frame(1), failed]);
    assert.deepEqual(other.calls, [`GET /v1/intake/requests/${requestId}/events?until_end=false`]);
    assert.deepEqual(own.calls, []);
  });

  it('falls back to its own coordinator, and tries the other no more', async () => {
    streamsTo = `http://127.0.0.1:${await freePort()}`;
    const { got, over } = follow(true);
    await until(() => own.calls.length > 0, 'its call');
    own.say(accepted, { type: 'ping' }, { type: 'ping' }, frame(2));
    await until(() => got.length === 3, 'its frame');
    own.say(failed, { type: 'ended' });
    assert.deepEqual(await over, [accepted, accepted, frame(2), failed, { type: 'ended' }]);
    assert.deepEqual(own.calls, [`GET /v1/intake/requests/${requestId}/events?until_end=true`]);
  });

  it('moves when text comes by another coordinator, as a ping shows', async () => {
    const { over } = await call();
    await until(() => own.calls.length > 0, 'the call');
    own.say(accepted, { type: 'ping' });
    streamsTo = other.url;
    own.say({ type: 'ping' });
    await until(() => other.calls.length > 0, 'the other one is followed');
    other.say(accepted, frame(1), failed);
    assert.deepEqual(await over, [accepted, accepted, frame(1), failed]);
    assert.deepEqual(own.calls, ['POST /v1/intake']);
  });

  it('repeats its call when the connection breaks', async () => {
    const { over } = await call();
    await until(() => own.calls.length === 1, 'the call');
    own.say(accepted, frame(1));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await own.breakOff();
    await until(() => own.calls.length === 2, 'the call again');
    own.say(accepted, frame(1), failed);
    assert.deepEqual(await over, [accepted, frame(1), accepted, frame(1), failed]);
    assert.deepEqual(own.calls, ['POST /v1/intake', 'POST /v1/intake']);
  });

  it('has the outcome from the database when the coordinator died for good', async () => {
    const { got, over } = await call(true);
    await until(() => own.calls.length === 1, 'the call');
    own.say(accepted, frame(1));
    await until(() => got.length === 2, 'its frame');
    isDatabaseAway = true;
    await own.breakOff(true);
    await new Promise((resolve) => setTimeout(resolve, 400));
    [stored, isDatabaseAway] = [ended(), false];
    assert.deepEqual(await over, [accepted, frame(1), failed, { type: 'ended' }]);
  });

  it('gives a refusal on, and asks no more', async () => {
    const { over } = await call();
    await until(() => own.calls.length === 1, 'the call');
    own.say({ type: 'refused', code: 'receive.unknown_model', detail: 'It is gone.' });
    await assert.rejects(
      over,
      (error) => error instanceof CodedError && error.code === 'receive.unknown_model',
    );
    assert.equal(own.calls.length, 1);
  });

  it('waits for a coordinator for as long as an outage takes, longer once accepted', async () => {
    const clock = Date.now;
    await own.stop();
    try {
      const refused = await call();
      const accepted = follow();
      // Beyond an outage, and not beyond the deadline and an outage.
      await new Promise((resolve) => setTimeout(resolve, 100));
      Date.now = () => clock() + 40_000;
      await assert.rejects(
        refused.over,
        (error) => error instanceof CodedError && error.code === 'gateway.coordinator_unreachable',
      );
      stored = ended();
      assert.deepEqual((await accepted.over).at(-1), failed);
    } finally {
      Date.now = clock;
    }
  });

  it('ends with whoever listens', async () => {
    const { over } = follow();
    await until(() => own.calls.length === 1, 'the call');
    gone.abort();
    await assert.rejects(over, { name: 'AbortError' });
  });
});
