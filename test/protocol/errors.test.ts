import assert from 'node:assert/strict';
import { CodedError, errorDefinition, ERRORS, isErrorCode } from '../../protocol/errors.ts';
import { STEPS } from '../../protocol/lifecycle.ts';

const codes = Object.keys(ERRORS).filter(isErrorCode);

describe('protocol/errors', () => {
  it('has only well-formed rows', () => {
    const places: string[] = [...STEPS.map(({ name }) => name), 'gateway', 'channel'];
    assert.equal(codes.length, Object.keys(ERRORS).length);
    for (const code of codes) {
      const { step, recovery, httpStatus, message } = errorDefinition(code);
      assert.match(code, /^[a-z]+\.[a-z]+(_[a-z]+)*$/);
      assert.ok(places.includes(step), `${code} is detected at ${step}`);
      // What was accepted is no error, though its record says what could not be checked.
      const least = recovery === 'accept' ? 200 : 400;
      assert.ok(Number.isInteger(httpStatus) && httpStatus >= least && httpStatus < 600, code);
      assert.match(message, /^[A-Z][^\n]*\.$/, code);
    }
  });

  it('tells its codes from other strings', () => {
    for (const code of codes) assert.ok(isErrorCode(code));
    for (const other of ['', 'receive', 'toString', '__proto__', 'constructor', 'Poe.Missing'])
      assert.ok(!isErrorCode(other), other);
  });

  it('makes errors that carry code, message, detail and cause', () => {
    const cause = new Error('reason');
    const error = new CodedError('poe.oversize', '9 bytes.', { cause });
    assert.equal(error.code, 'poe.oversize');
    assert.equal(error.detail, '9 bytes.');
    assert.equal(error.message, `${ERRORS['poe.oversize'].message} 9 bytes.`);
    assert.equal(error.cause, cause);
    assert.equal(error.name, 'CodedError');
  });

  it('makes errors without a detail', () => {
    const error = new CodedError('poe.oversize');
    assert.equal(error.message, ERRORS['poe.oversize'].message);
    assert.equal(error.detail, undefined);
    assert.ok(!('cause' in error));
  });
});
