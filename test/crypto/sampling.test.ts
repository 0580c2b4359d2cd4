import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { generateWrapKey, wrapKeyOf } from '../../crypto/keys.ts';
import {
  checkerOrder,
  drawOf,
  epochSecret,
  policyHash,
  secretHash,
} from '../../crypto/sampling.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { drawPpm, PPM } from '../../protocol/sampling.ts';

describe('crypto/sampling', () => {
  const unit = randomBytes(32);
  const unitId = formatRequestId(unit);
  const poe = randomBytes(32);

  it('draws HMAC-SHA-256(secret, unit_id ‖ poe) over raw bytes (design §7)', () => {
    const secret = randomBytes(32);
    const expected = createHmac('sha256', secret).update(unit).update(poe).digest('hex');
    assert.equal(drawOf(secret.toString('hex'), unitId, poe.toString('hex')), expected);
  });

  it('derives a secret for each epoch, and another for each key', () => {
    const key = generateWrapKey();
    const secrets = [1, 2, 3, 256, 65_536].map((epoch) => epochSecret(key, epoch));
    secrets.push(epochSecret(generateWrapKey(), 1));
    assert.equal(new Set(secrets).size, secrets.length);
    const bytes = Buffer.from('07'.repeat(32), 'hex');
    assert.equal(epochSecret(wrapKeyOf('k', bytes), 1), epochSecret(wrapKeyOf('other', bytes), 1));
    for (const secret of secrets) assert.match(secret, /^[0-9a-f]{64}$/);
  });

  it('commits by SHA-256, to the bytes of a secret and to the text of a policy', () => {
    const secret = randomBytes(32);
    const hash = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
    assert.equal(secretHash(secret.toString('hex')), hash(secret));
    assert.equal(policyHash('{"v":1}'), hash('{"v":1}'));
  });

  it('orders checkers apart from the draw', () => {
    const secret = randomBytes(32).toString('hex');
    const [order, draw] = [checkerOrder, drawOf].map((of) =>
      of(secret, unitId, poe.toString('hex')),
    );
    assert.notEqual(order, draw);
    assert.match(order ?? '', /^[0-9a-f]{64}$/);
  });

  it('draws as if at random: as many as the rate says, within 5 standard errors', () => {
    const secret = createHash('sha256').update('a fixed secret').digest('hex');
    const n = 20_000;
    const rate = 0.05;
    const poes = Array.from({ length: n }, (_, index) =>
      createHash('sha256').update(String(index)).digest('hex'),
    );
    const drawn = poes.filter((each) => drawPpm(drawOf(secret, unitId, each)) < rate * PPM).length;
    const standardError = Math.sqrt(n * rate * (1 - rate));
    assert.ok(Math.abs(drawn - n * rate) < 5 * standardError, `${drawn} of ${n}`);
  });
});
