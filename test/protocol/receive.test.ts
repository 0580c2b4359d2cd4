import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { intakeCallSchema } from '../../protocol/receive-schema.ts';
import {
  choiceSeed,
  complexityTokens,
  PAYLOAD_BYTES_MAX,
  PRIORITY_KEYS,
  promptTokensMax,
  type IntakeCall,
} from '../../protocol/receive.ts';
import vector from '../../protocol/vectors/request-envelope.json' with { type: 'json' };

const call = {
  intakeKey: 'k'.repeat(24),
  accountId: 'acct_1',
  parameters: { ...vector.parameters },
  requesterKey: vector.requesterPublicJwk,
  envelope: vector.sealed,
};
const bytes = fc.integer({ min: 0, max: PAYLOAD_BYTES_MAX });

/** Where a call is wrong, by the first complaint; undefined when it is accepted. */
function fault(changed: object): string | undefined {
  const parsed = intakeCallSchema.safeParse({ ...call, ...changed });
  return parsed.success ? undefined : (parsed.error.issues[0]?.path.join('.') ?? 'somewhere');
}

function parameterFault(changed: object): string | undefined {
  return fault({ parameters: { ...call.parameters, ...changed } });
}

function ciphertextOf(length: number): string {
  return Buffer.alloc(length).toString('base64url');
}

describe('protocol/receive intake calls', () => {
  it('takes several choices and features, each when it says so, and in one form only', () => {
    const choices = { stream: false, choices: 2, features: ['choices'] };
    assert.equal(parameterFault(choices), undefined);
    assert.equal(parameterFault({ features: ['completion', 'logprobs'] }), undefined);
    assert.equal(parameterFault({ ...choices, choices: 16, maxTokens: 512 }), undefined);
    const faults: [object, string][] = [
      [{ ...choices, choices: 1 }, 'choices'],
      [{ ...choices, choices: 17 }, 'choices'],
      [{ ...choices, features: undefined }, 'choices'],
      [{ ...choices, choices: undefined }, 'choices'],
      [{ ...choices, stream: true }, 'stream'],
      [{ ...choices, choices: 16, maxTokens: 513 }, 'maxTokens'],
      [{ features: [] }, 'features'],
      [{ features: ['logprobs', 'completion'] }, 'features'],
      [{ features: ['logprobs', 'logprobs'] }, 'features'],
      [{ features: ['telepathy'] }, 'features.0'],
    ];
    for (const [changed, place] of faults)
      assert.equal(parameterFault(changed), `parameters.${place}`, JSON.stringify(changed));
  });

  it('accepts a sealed request and changes nothing', () => {
    const parsed: IntakeCall = intakeCallSchema.parse(call);
    assert.deepEqual(parsed, call);
  });

  const bounds: [string, unknown[], unknown[]][] = [
    ['hardwareTier', [1, 5], [0, 6, 1.5, '1', null]],
    ['priority', ['standard', 'expedited', 'urgent'], ['low', 'Standard', 1, null]],
    ['deadlineSeconds', [1, 120, 86_400], [0, 86_401, 0.5, NaN, Infinity, '120', null]],
    ['maxTokens', [1, 8_192], [0, 8_193, 1.5, '64', null]],
    ['seed', [null, 0, 0xffff_ffff], [-1, 0x1_0000_0000, 0.5, '7', undefined]],
    ['stream', [true, false], ['true', 1, null, undefined]],
    ['model', ['m', 'm'.repeat(200)], ['', 'm'.repeat(201), 'm\u0000', '\ud800', null, undefined]],
    // Receive itself has a code for an unknown class, so any name gets that far.
    [
      'workloadClass',
      ['ai.inference', 'rendering'],
      ['', 'x'.repeat(101), 'x\u0000', null, undefined],
    ],
  ];
  for (const [name, good, bad] of bounds)
    it(`bounds ${name}`, () => {
      for (const value of good) assert.equal(parameterFault({ [name]: value }), undefined);
      for (const value of bad)
        assert.equal(parameterFault({ [name]: value }), `parameters.${name}`, String(value));
    });

  it('refuses parameters that it does not know: nobody would bind or meter them', () => {
    assert.equal(parameterFault({ budget: 1 }), 'parameters');
    assert.equal(fault({ budget: 1 }), '');
  });

  it('bounds the intake key and the account', () => {
    assert.equal(fault({ intakeKey: 'k'.repeat(16) }), undefined);
    for (const intakeKey of ['k'.repeat(15), 'k'.repeat(201), null])
      assert.equal(fault({ intakeKey }), 'intakeKey');
    for (const accountId of ['', 'a'.repeat(201), 7])
      assert.equal(fault({ accountId }), 'accountId');
  });

  it('bounds the payload', () => {
    const sized = (length: number) =>
      fault({ envelope: { ...call.envelope, ciphertext: ciphertextOf(length) } });
    assert.equal(sized(1), undefined);
    assert.equal(sized(PAYLOAD_BYTES_MAX), undefined);
    assert.equal(sized(0), 'envelope.ciphertext');
    assert.equal(sized(PAYLOAD_BYTES_MAX + 1), 'envelope.ciphertext');
  });

  it('refuses a requester key with a private part, or of another kind', () => {
    const { requesterKey } = call;
    assert.equal(fault({ requesterKey: { ...requesterKey, d: requesterKey.x } }), 'requesterKey');
    assert.equal(fault({ requesterKey: { ...requesterKey, crv: 'Ed25519' } }), 'requesterKey.crv');
    assert.equal(fault({ requesterKey: { ...requesterKey, x: 'AA' } }), 'requesterKey.x');
  });
});

describe('protocol/receive sizes', () => {
  it('bounds the prompt of any payload from above: no token is less than a byte', () => {
    fc.assert(fc.property(bytes, (length) => assert.ok(promptTokensMax(length) > length)));
    assert.equal(promptTokensMax(1_000), 1_256);
  });

  it('measures complexity in whole tokens, prompt and output', () => {
    assert.equal(complexityTokens(400, 64), 164);
    assert.equal(complexityTokens(401, 64), 165);
    // Each choice reads the prompt by itself.
    assert.equal(complexityTokens(400, 3 * 64, 3), 3 * 164);
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 8_192 }), (length, maxTokens) => {
        const complexity = complexityTokens(length, maxTokens);
        assert.ok(Number.isInteger(complexity) && complexity >= maxTokens);
        assert.ok(complexity <= promptTokensMax(length) + maxTokens);
      }),
    );
  });

  it('orders priorities as the specification does, within the keys of Temporal', () => {
    const { urgent, expedited, standard } = PRIORITY_KEYS;
    assert.ok(1 <= urgent && urgent < expedited && expedited < standard && standard <= 5);
  });
});

describe('protocol/receive choiceSeed', () => {
  it('begins with the seed of the unit, and goes on within 32 bits', () => {
    assert.deepEqual(
      [0, 1, 2].map((index) => choiceSeed(0xffff_fffe, index)),
      [0xffff_fffe, 0xffff_ffff, 0],
    );
  });
});
