import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import { dispatchContentKey } from '../../crypto/dispatch.ts';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { rewrapRequest, sealRequest } from '../../crypto/request.ts';
import { sealTicket } from '../../crypto/ticket.ts';
import { Attempts } from '../../nodes/attempts.ts';
import type { Backend } from '../../nodes/backends/backend.ts';
import { execute } from '../../nodes/execute.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import { withNodeRecipient, wrapRecipient } from '../../protocol/envelope.ts';
import type { ExecuteInput } from '../../protocol/execute.ts';
import type { RequestParameters } from '../../protocol/receive.ts';
import {
  context,
  intakeKey,
  parameters as defaults,
  requesterKey as requester,
  returnKey,
  wrapKey,
} from '../crypto/fixtures.ts';

const DEADLINE_SECONDS = 1;
const parameters: RequestParameters = {
  ...defaults,
  deadlineSeconds: DEADLINE_SECONDS,
  stream: false,
};
const requesterKey = requester.publicJwk;

describe('nodes/execute: the deadline', () => {
  const now = Date.now;
  let keys: NodeKeys;
  let input: ExecuteInput;
  before(async () => {
    keys = await generateNodeKeys();
    input = await dispatched(keys);
  });
  afterEach(() => {
    Date.now = now;
  });

  /** Runs it on a backend that does something before it answers at once. */
  function run(meanwhile: () => unknown) {
    const instant = instantBackend();
    const backend: Backend = {
      ...instant,
      async generate(...call) {
        await meanwhile();
        return instant.generate(...call);
      },
    };
    return execute(
      {
        keys,
        backend,
        returnKey: () => returnKey.publicJwk,
        attempts: new Attempts(),
        openStream: () => assert.fail('nobody listens'),
      },
      input,
      {
        cancelled: new AbortController().signal,
        isCancelRequested: () => false,
        heartbeat: () => {},
      },
    );
  }

  it('is told by a clock that nobody sets', async () => {
    for (const jumpMs of [3_600_000, -3_600_000]) {
      const { decryptedAtMs, finishedAtMs } = await run(() => {
        Date.now = () => now() + jumpMs;
      });
      Date.now = now;
      const elapsedMs = finishedAtMs - decryptedAtMs;
      assert.ok(elapsedMs >= 0 && elapsedMs < DEADLINE_SECONDS * 1_000, String(elapsedMs));
    }
  });

  it('is missed by a backend that lets no timer run, too', async () => {
    const busy = () => {
      const untilMs = performance.now() + DEADLINE_SECONDS * 1_000 + 20;
      while (performance.now() < untilMs);
    };
    await assert.rejects(run(busy), { type: 'node.deadline_exceeded' });
  });
});

/** One request as a node gets it. */
async function dispatched({ nodeId, encryption }: NodeKeys): Promise<ExecuteInput> {
  const messages = [{ role: 'user', content: 'one two three' }];
  const plaintext = canonicalBytes({ messages, temperature: 0, topP: 1, stop: [] });
  const sealing = { plaintext, parameters, requesterKey, intakeKey: intakeKey.publicJwk };
  const wrapped = rewrapRequest(await sealRequest(sealing), [intakeKey], [wrapKey]);
  const key = dispatchContentKey(wrapRecipient(wrapped), [wrapKey], encryption.publicKey);
  const ticket = sealTicket(
    {
      unitId: context.unitId,
      dispatch: 1,
      nodeId,
      deadlineSeconds: DEADLINE_SECONDS,
      seed: 7,
      stream: false,
      channelToken: Buffer.alloc(32).toString('base64url'),
    },
    encryption.publicKey,
  );
  return { envelope: withNodeRecipient(wrapped, key, nodeId), ticket, parameters, requesterKey };
}
