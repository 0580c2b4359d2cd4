import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

describe('workers/role', () => {
  /** What a role says that can't start because of `error`, an expression. */
  async function ending(error: string): Promise<{ code: unknown; said: string }> {
    const script = `
      import { EnvelopeError } from './crypto/errors.ts';
      import { CodedError } from './protocol/errors.ts';
      import { ConfigError } from './workers/config.ts';
      import { runRole } from './workers/role.ts';
      await runRole(() => Promise.reject(${error}));`;
    const args = ['--import', 'tsx', '--input-type=module', '--eval', script];
    return new Promise((resolve) => {
      execFile(process.execPath, args, { cwd: root }, (failure, _, said) =>
        resolve({ code: failure?.code, said }),
      );
    });
  }

  it('tells people the code and the words, and no stack', async () => {
    const cases: [string, string][] = [
      ["new EnvelopeError('key.passphrase_wrong', 'Set it.')", 'key.passphrase_wrong: Set it.\n'],
      ["new EnvelopeError('ca.invalid', 'Mend it.')", 'ca.invalid: Mend it.\n'],
      [
        "new CodedError('node.binding_invalid')",
        'node.binding_invalid: No operator has signed for the node.\n',
      ],
      ["new ConfigError('Set X.')", 'Set X.\n'],
    ];
    for (const [error, said] of cases) assert.deepEqual(await ending(error), { code: 1, said });
  }).timeout(60_000);

  it('shows where a fault of its own is', async () => {
    const { code, said } = await ending("new TypeError('a fault')");
    assert.equal(code, 1);
    assert.match(said, /^TypeError: a fault\n +at /);
  }).timeout(30_000);
});
