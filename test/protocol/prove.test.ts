import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import {
  formatNodeId,
  formatRequestId,
  idBytes,
  parseNodeId,
  parseUnitId,
} from '../../protocol/ids.ts';
import { checkProof, POE_SCHEME, proofOfExecution, signedMessage } from '../../protocol/prove.ts';
import vectors from '../../protocol/vectors/poe.v1.json' with { type: 'json' };

const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });
const claimed = fc.record({ unit: raw, result: fc.uint8Array({ maxLength: 100 }), node: raw });

describe('protocol/prove', () => {
  for (const vector of vectors.cases)
    it(`agrees with the vector: ${vector.name}`, () => {
      const unitId = parseUnitId(vector.unitId);
      const nodeId = parseNodeId(vectors.nodeId);
      const result = Buffer.from(vector.resultHex, 'hex');
      const poe = proofOfExecution(unitId, result, nodeId);
      // A second implementation, so that the vector isn't only what the first one happened to do.
      const parts = [
        Buffer.from(unitId.slice(4), 'hex'),
        result,
        Buffer.from(nodeId.slice(3), 'hex'),
      ];
      const independent = createHash('sha256').update(Buffer.concat(parts)).digest('hex');
      assert.equal(poe, vector.poe);
      assert.equal(poe, independent);
      const message = Buffer.from(signedMessage(result, poe)).toString('hex');
      assert.equal(message, vector.signedMessageHex);
      assert.equal(message, vector.resultHex + poe);
    });

  it('commits to each of its three parts: other parts, other PoE', () => {
    fc.assert(
      fc.property(claimed, claimed, (one, other) => {
        const same =
          Buffer.from(one.unit).equals(other.unit) &&
          Buffer.from(one.result).equals(other.result) &&
          Buffer.from(one.node).equals(other.node);
        assert.equal(poeOf(one) === poeOf(other), same);
      }),
    );
  });

  it('does not let bytes move from one part to its neighbour', () => {
    fc.assert(
      fc.property(claimed, fc.integer({ min: 1, max: 31 }), ({ unit, result, node }, shift) => {
        // The same concatenation cut elsewhere is impossible with 32-byte ends, so lengthening the
        // result by a piece of an id must change the commitment.
        const moved = Buffer.concat([unit.slice(shift), result]);
        fc.pre(!Buffer.from(result).equals(moved));
        assert.notEqual(poeOf({ unit, result, node }), poeOf({ unit, result: moved, node }));
      }),
    );
  });

  it('accepts the right claim and names what is wrong with any other', () => {
    fc.assert(
      fc.property(claimed, ({ unit, result, node }) => {
        const unitId = formatRequestId(unit);
        const nodeId = formatNodeId(node);
        const poe = proofOfExecution(unitId, result, nodeId);
        const claim = { scheme: POE_SCHEME, poe, unitId, resultBytes: result, nodeId };
        const code = (change: object) => {
          const checked = checkProof({ ...claim, ...change });
          return checked.ok ? 'ok' : checked.code;
        };
        assert.equal(code({}), 'ok');
        for (const missing of [undefined, null, ''])
          assert.equal(code({ poe: missing }), 'poe.missing');
        for (const scheme of ['poe.v2', 'POE.V1', '', undefined, {}])
          assert.equal(code({ scheme }), 'poe.unknown_scheme');
        for (const malformed of [
          poe.slice(1),
          `${poe}00`,
          poe.replace(/^./, 'g'),
          `0x${poe}`,
          7,
          [poe],
        ])
          assert.equal(code({ poe: malformed }), 'poe.malformed');
        const otherResult = Buffer.concat([result, Buffer.of(0)]);
        for (const change of [
          { poe: `${poe.slice(0, -1)}${poe.endsWith('0') ? '1' : '0'}` },
          { resultBytes: otherResult },
          { unitId: formatRequestId(unit.with(0, ((unit[0] ?? 0) + 1) % 256)) },
          { nodeId: formatNodeId(node.with(31, ((node[31] ?? 0) + 1) % 256)) },
        ])
          assert.equal(code(change), 'poe.hash_mismatch');
      }),
      { numRuns: 30 },
    );
  });

  it('refuses to sign over anything but a PoE', () => {
    for (const poe of ['', 'ab', 'A'.repeat(64), 'g'.repeat(64)])
      assert.throws(() => signedMessage(new Uint8Array(), poe), TypeError);
  });

  it('reads ids as raw bytes', () => {
    assert.equal(idBytes(parseNodeId(vectors.nodeId)).length, 32);
  });
});

function poeOf({ unit, result, node }: Record<'unit' | 'result' | 'node', Uint8Array>): string {
  return proofOfExecution(formatRequestId(unit), result, formatNodeId(node));
}
