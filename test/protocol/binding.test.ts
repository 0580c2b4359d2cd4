import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { concat, hexToBytes, keccak256, numberToHex, pad, stringToBytes } from 'viem/utils';
import { signedBinding } from '../../bench/signed-binding.ts';
import { operatorAddress, signBinding, type OperatorKey } from '../../crypto/operator.ts';
import { bindingSigner, type Binding } from '../../protocol/binding.ts';
import { formatNodeId, parseNodeId } from '../../protocol/ids.ts';
import vectors from '../../protocol/vectors/binding.json' with { type: 'json' };

const HEX_DIGITS = Array.from('0123456789abcdefF');

type Hex = `0x${string}`;

/** The digest by hand, as EIP-712 has it: so that vectors aren't only what one library did. */
function digestOf({ chainId, nodeId, binding }: (typeof vectors.cases)[number]): Hex {
  const hashed = (text: string) => keccak256(stringToBytes(text));
  const word = (value: number) => pad(numberToHex(value), { size: 32 });
  const domain = keccak256(
    concat([
      hashed('EIP712Domain(string name,string version,uint256 chainId)'),
      hashed('ParalleliX'),
      hashed('1'),
      word(chainId),
    ]),
  );
  const struct = keccak256(
    concat([
      hashed('NodeBinding(address operator,bytes32 nodeId,uint64 expiresAt)'),
      pad(binding.operator as Hex, { size: 32 }),
      `0x${nodeId.slice(3)}`,
      word(binding.expiresAt),
    ]),
  );
  return keccak256(concat(['0x1901', domain, struct]));
}

const node = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(formatNodeId);
const scalar = fc.uint8Array({ minLength: 31, maxLength: 31 }).filter((b) => b.some(Boolean));
const key = scalar.map((bytes): OperatorKey => `0x01${Buffer.from(bytes).toString('hex')}`);
const terms = fc.record({
  chainId: fc.integer({ min: 1, max: 2 ** 48 }),
  nodeId: node,
  expiresAt: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
});
/** Each signature is some milliseconds of big numbers. */
const few = { numRuns: 25 };

describe('protocol/binding', function () {
  this.timeout(30_000);
  for (const vector of vectors.cases)
    it(`agrees with the vector: ${vector.name}`, async () => {
      const { chainId, address, digest } = vector;
      const nodeId = parseNodeId(vector.nodeId);
      const privateKey = vector.privateKey as OperatorKey;
      const { expiresAt } = vector.binding;
      assert.equal(operatorAddress(privateKey), address);
      assert.equal(digestOf(vector), digest);
      const signed = await signBinding(privateKey, { chainId, nodeId, expiresAt });
      assert.deepEqual(signed, vector.binding);
      assert.equal(await bindingSigner(chainId, nodeId, vector.binding), address);
    });

  for (const { name, signature } of vectors.rejected)
    it(`refuses a signature of another form, or of nobody: ${name}`, async () => {
      const [first] = vectors.cases;
      assert.ok(first);
      const binding = { ...first.binding, signature };
      assert.equal(await bindingSigner(first.chainId, parseNodeId(first.nodeId), binding), null);
    });

  it('knows the operator, however its address and the signature are written', async () => {
    await fc.assert(
      fc.asyncProperty(key, terms, async (privateKey, { chainId, nodeId, expiresAt }) => {
        const binding = await signBinding(privateKey, { chainId, nodeId, expiresAt });
        const shouted = (text: Hex) => `0x${text.slice(2).toUpperCase()}`;
        const { operator, signature } = binding;
        const loud = { expiresAt, operator: shouted(operator), signature: shouted(signature) };
        for (const each of [binding, loud])
          assert.equal(await bindingSigner(chainId, nodeId, each), operatorAddress(privateKey));
      }),
      few,
    );
  });

  it('is nobody’s once a field, the node or the chain is another', async () => {
    await fc.assert(
      fc.asyncProperty(key, terms, terms, key, async (privateKey, one, other, stranger) => {
        const binding = await signBinding(privateKey, one);
        const changed: [number, typeof one.nodeId, Binding][] = [
          [other.chainId, one.nodeId, binding],
          [one.chainId, other.nodeId, binding],
          [one.chainId, one.nodeId, { ...binding, expiresAt: other.expiresAt }],
          [one.chainId, one.nodeId, { ...binding, operator: operatorAddress(stranger) }],
        ];
        fc.pre(one.chainId !== other.chainId && one.nodeId !== other.nodeId);
        fc.pre(one.expiresAt !== other.expiresAt && privateKey !== stranger);
        for (const [chainId, nodeId, each] of changed)
          assert.equal(await bindingSigner(chainId, nodeId, each), null);
      }),
      few,
    );
  });

  it('is nobody’s once any bit of the signature is another', async () => {
    const nodeId = formatNodeId(new Uint8Array(32).fill(7));
    const binding = await signedBinding(nodeId, 'op', { chainId: 5 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 65 * 8 - 1 }), async (bit) => {
        const bytes = hexToBytes(binding.signature);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const signature = `0x${Buffer.from(bytes).toString('hex')}`;
        assert.equal(await bindingSigner(5, nodeId, { ...binding, signature }), null);
      }),
      { numRuns: 100 },
    );
  });

  it('says null of whatever else comes, and never throws', async () => {
    const nodeId = formatNodeId(new Uint8Array(32));
    const hex = (digits: number) =>
      fc.string({ unit: fc.constantFrom(...HEX_DIGITS), maxLength: digits });
    const shaped = fc.record({
      operator: hex(41).map((text) => `0x${text.padEnd(40, '0')}`),
      expiresAt: fc.oneof(fc.integer(), fc.double()),
      signature: hex(131).map((text) => `0x${text.padEnd(130, '0')}`),
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.anything(), shaped), async (binding) =>
        assert.equal(await bindingSigner(31_337, nodeId, binding), null),
      ),
      { numRuns: 300 },
    );
  });
});
