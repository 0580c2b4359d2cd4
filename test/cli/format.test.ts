import assert from 'node:assert/strict';
import { ago, prlx, short, span, table, weiOf } from '../../cli/format.ts';
import { safeJson, safeText, terminalOn } from '../../cli/terminal.ts';

describe('cli/format', () => {
  it('shows wei as PRLX, exactly', () => {
    assert.equal(prlx('0'), '0 PRLX');
    assert.equal(prlx('1'), '0.000000000000000001 PRLX');
    assert.equal(prlx('54800000000000'), '0.0000548 PRLX');
    assert.equal(prlx('1000000000000000000'), '1 PRLX');
    assert.equal(prlx('123450000000000000000000'), '123450 PRLX');
  });

  it('reads PRLX as wei, exactly', () => {
    for (const wei of [
      '0',
      '1',
      '54800000000000',
      '1000000000000000000',
      '123450000000000000000000',
    ])
      assert.equal(weiOf(prlx(wei).replace(' PRLX', '')), BigInt(wei));
    for (const text of ['', '.5', '5.', '1e5', '-1', '0.0000000000000000001', '1,5'])
      assert.equal(weiOf(text), undefined, text);
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
    assert.equal(safeText('a\u202ecod.exe\u2066\u200f\u061c'), 'acod.exe');
    assert.equal(safeText('naïve 日本 🙂 שלום'), 'naïve 日本 🙂 שלום');
  });

  it('lets nothing through to a stream but its own styles', () => {
    const written = (isTTY: boolean) => {
      let text = '';
      const stream = { isTTY, write: (piece: string) => (text += piece) };
      const terminal = terminalOn(stream as unknown as NodeJS.WriteStream);
      terminal.write(`${terminal.style('red', 'x\u001b[2J\u202e')}\u001b]0;title\u0007y\n`);
      return text;
    };
    assert.equal(written(false), 'xy\n');
    const { NO_COLOR: given } = process.env;
    try {
      delete process.env['NO_COLOR'];
      assert.equal(written(true), '\u001b[31mx\u001b[39my\n');
      process.env['NO_COLOR'] = '1';
      assert.equal(written(true), 'xy\n');
    } finally {
      if (given === undefined) delete process.env['NO_COLOR'];
      else process.env['NO_COLOR'] = given;
    }
  });

  it('escapes in JSON what some terminals obey, and changes no value', () => {
    const value = { text: 'a\u009b2J\u001b[0m\u007f\u202eé' };
    const text = safeJson(value);
    assert.doesNotMatch(text, /\p{Cc}|\p{Bidi_Control}/u);
    assert.deepEqual(JSON.parse(text), value);
  });
});
