import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { attemptNumber, makeChannelToken } from '../../crypto/channel.ts';
import { generateX25519Key, type X25519Key } from '../../crypto/keys.ts';
import { createStreamSealer } from '../../crypto/stream.ts';
import { Relay } from '../../intake/relay.ts';
import { formatNodeId, formatRequestId } from '../../protocol/ids.ts';
import { requester } from '../support/seeded.ts';

const secret = createSecretKey(randomBytes(32));
const unitId = formatRequestId(randomBytes(32));
const nodeId = formatNodeId(randomBytes(32));

describe('intake/relay: subscribers', () => {
  let returnKey: X25519Key;
  let relay: Relay;
  before(async () => {
    returnKey = await generateX25519Key();
  });
  beforeEach(() => {
    relay = new Relay(secret, [returnKey]);
  });

  /** An attempt whose frames have come, but for those that it still says. */
  async function attempt(dispatch: number, texts: readonly string[], id = unitId) {
    const context = { unitId: id, dispatch: attemptNumber(secret, id, dispatch), nodeId };
    const keys = { requesterKey: requester.publicJwk, returnKey: returnKey.publicJwk };
    const sealer = await createStreamSealer({ ...context, ...keys });
    const { accept } = relay.open(context, makeChannelToken(secret, context));
    const sent: string[] = [];
    const send = (frame: string) => {
      sent.push(frame);
      accept(frame);
    };
    send(sealer.keyFrame);
    const say = (text: string) => send(sealer.delta(text));
    for (const text of texts) say(text);
    return { sent, say, end: () => send(sealer.end()) };
  }

  /** Takes as many frames as it is told to. */
  function reader(takes = Number.POSITIVE_INFINITY, id = unitId) {
    const got: string[] = [];
    let left = takes;
    const subscription = relay.subscribe(id, ({ frame }) => {
      got.push(frame);
      return --left > 0;
    });
    const take = (more: number) => {
      left = more;
      subscription.resume();
    };
    return { got, take, end: subscription.end };
  }

  it('each get all frames from the first on, whenever they come', async () => {
    relay.hold(unitId);
    const early = reader();
    const said = await attempt(1, ['one ']);
    const late = reader();
    said.say('two');
    const later = reader();
    said.end();
    for (const { got } of [early, late, later, reader()]) assert.deepEqual(got, said.sent);
    assert.equal(relay.relayed(unitId, 1)?.deltaFrames, 2, 'each frame is charged once');
  });

  it('read at their own pace, and the fastest one decides what is charged', async () => {
    relay.hold(unitId);
    const [slow, fast] = [reader(1), reader(3)];
    const said = await attempt(1, ['one ', 'two ', 'three']);
    assert.deepEqual([slow.got.length, fast.got.length], [1, 3]);
    slow.take(1);
    assert.equal(slow.got.length, 2);
    said.end();
    assert.equal(relay.relayed(unitId, 1)?.deltaFrames, 2);
    slow.take(10);
    assert.deepEqual(slow.got, said.sent);
  });

  it('get nothing of a stopped attempt that nobody had by then', async () => {
    relay.hold(unitId);
    const [slow, fast] = [reader(1), reader(3)];
    const said = await attempt(1, ['one ', 'two ', 'three']);
    relay.stop(unitId, 1);
    said.say('more');
    for (const each of [slow, fast]) each.take(10);
    assert.deepEqual([slow.got, fast.got], [said.sent.slice(0, 3), said.sent.slice(0, 3)]);
    assert.equal(relay.relayed(unitId, 1)?.deltaFrames, 2);
  });

  it('go on with the first frame of the attempt that replaces one', async () => {
    relay.hold(unitId);
    const [slow, fast] = [reader(2), reader()];
    const first = await attempt(1, ['one ', 'two']);
    const second = await attempt(2, ['one ']);
    slow.take(10);
    assert.deepEqual(slow.got, [...first.sent.slice(0, 2), ...second.sent]);
    assert.deepEqual(fast.got, [...first.sent, ...second.sent]);
  });

  it('are forgotten with the unit once nobody holds it, and not before', async () => {
    const [release, releaseToo] = [relay.hold(unitId), relay.hold(unitId)];
    const said = await attempt(1, ['one ']);
    release();
    release();
    assert.equal(relay.holders(unitId), 1);
    const one = reader();
    one.end();
    said.say('two');
    assert.equal(one.got.length, 2);
    assert.equal(relay.relayed(unitId, 1)?.text, 'one two');
    releaseToo();
    assert.equal(relay.relayed(unitId, 1), null);
    assert.deepEqual([relay.holders(unitId), reader().got.length], [0, 0]);
  });

  it('may end while they are given something', async () => {
    relay.hold(unitId);
    const got: string[] = [];
    const subscription = relay.subscribe(unitId, ({ frame }) => {
      got.push(frame);
      subscription.end();
      return true;
    });
    await attempt(1, ['one ']);
    subscription.resume();
    assert.equal(got.length, 1);
  });

  it('find a gap instead of what there is no room for', async () => {
    relay = new Relay(secret, [returnKey], 60_000);
    const ids = [unitId, formatRequestId(randomBytes(32))];
    for (const id of ids) relay.hold(id);
    const fast = reader();
    const [one] = [await attempt(1, []), await attempt(1, ['x'.repeat(20_000)], ids[1])];
    for (let sent = 0; sent < 10; sent++) one.say('x'.repeat(20_000));
    // Who keeps up misses nothing; who comes late gets less than is kept at most.
    assert.deepEqual(fast.got, one.sent);
    const late = reader();
    assert.ok(late.got.length > 0 && late.got.length < 3, String(late.got.length));
    assert.deepEqual(late.got, one.sent.slice(-late.got.length));
    assert.equal(relay.relayed(unitId, 1)?.text.length, 200_000, 'all of it is compared');
  });
});
