import assert from 'node:assert/strict';
import { ago, prlx, short, span, table } from '../../cli/format.ts';
import { safeJson, safeText } from '../../cli/terminal.ts';

describe('cli/format', () => {
  it('shows wei as PRLX, exactly', () => {
    assert.equal(prlx('0'), '0 PRLX');
    assert.equal(prlx('1'), '0.000000000000000001 PRLX');
    assert.equal(prlx('54800000000000'), '0.0000548 PRLX');
    assert.equal(prlx('1000000000000000000'), '1 PRLX');
    assert.equal(prlx('123450000000000000000000'), '123450 PRLX');
  });

  it('shows times in the unit that suits them', () => {
    assert.deepEqual([-5, 1_260, 61_000, 3_600_000, 200_000_000].map(span), [
      '0.0 s',
      '1.3 s',
      '1 min',
      '1 h',
      '2 d',
    ]);
    assert.equal(ago(new Date(Date.now() - 7_300_000).toISOString()), '2 h ago');
  });

  it('shortens ids as logs do', () => {
    assert.equal(short(`req_a3f10b77${'0'.repeat(56)}`), 'req_a3f10b77');
    assert.equal(short(`nd_a3f10b77${'0'.repeat(56)}`), 'nd_a3f10b77');
  });

  it('aligns columns, without what could steer a terminal', () => {
    assert.deepEqual(
      table(
        ['a', 'long'],
        [
          ['wide\u001b[2J', 'x'],
          ['y', ''],
        ],
      ),
      ['a     long', 'wide  x', 'y'],
    );
  });
});

describe('cli/terminal', () => {
  it('takes control sequences out of text, also those that come in pieces', () => {
    assert.equal(safeText('a\u001b[31mred\u001b[0m\tb\nc'), 'ared\tb\nc');
    assert.equal(safeText('\u001b') + safeText('[2J'), '[2J');
    assert.equal(safeText('x\u009b2J\r\u0007\u0008\u007f'), 'x');
    assert.equal(safeText('naïve 日本 🙂'), 'naïve 日本 🙂');
  });

  it('escapes in JSON what some terminals obey, and changes no value', () => {
    const value = { text: 'a\u009b2J\u001b[0m\u007fé' };
    const text = safeJson(value);
    assert.doesNotMatch(text, /\p{Cc}/u);
    assert.deepEqual(JSON.parse(text), value);
  });
});
