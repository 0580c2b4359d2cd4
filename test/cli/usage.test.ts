import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ENTRY, prlx, type CliResult } from '../support/cli.ts';
import { freePort } from '../support/servers.ts';

const COMMANDS = ['chat', 'submit', 'status', 'cancel', 'nodes', 'explain', 'audit', 'operator'];

describe('cli: usage', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  it('teaches: every command has examples, the whole has exit codes and environment', async () => {
    const { code, stdout } = await prlx(['--help']);
    assert.equal(code, 0);
    for (const text of [...COMMANDS, 'PLX_GATEWAY_URL', 'PLX_API_KEY', 'Exit codes', '130'])
      assert.ok(stdout.includes(text), text);
    for (const command of COMMANDS) {
      const help = await prlx([command, '--help']);
      assert.equal(help.code, 0);
      assert.match(help.stdout, new RegExp(`Examples:\n  .*prlx ${command}`), command);
      assert.match(help.stdout, /--json/);
    }
  });

  it('works from any folder, whatever is in it', async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'plx-cwd-'));
    await writeFile(join(cwd, 'tsconfig.json'), 'not even JSON');
    await symlink(ENTRY, join(cwd, 'prlx'));
    const linked = await prlx(['--help'], { cwd, entry: join(cwd, 'prlx') });
    assert.deepEqual([linked.code, linked.stderr], [0, '']);
    await rm(cwd, { recursive: true });
  });

  const wrong: [string, string[]][] = [
    ['no command', []],
    ['an unknown command', ['chatt']],
    ['an unknown option', ['nodes', '--colour']],
    ['a number that is none', ['chat', 'x', '--max-tokens', 'many']],
    ['an unknown priority', ['submit', 'x', '--priority', 'soon']],
    ['an unknown delivery', ['chat', 'x', '--delivery', 'soon']],
    ['a missing reason', ['nodes', 'reinstate', 'node-1']],
    ['a missing id', ['cancel']],
    ['a missing key', ['operator', 'bind', `nd_${'0'.repeat(64)}`]],
    ['too many arguments', ['chat', 'Why', 'me?']],
  ];
  for (const [name, args] of wrong)
    it(`refuses ${name} with 2 and a message on stderr`, async () => {
      const { code, stdout, stderr } = await prlx(args);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /Usage:|prlx --help/);
    });

  const keyed = (url: string) => ({ env: { PLX_GATEWAY_URL: url, PLX_API_KEY: 'plx-key' } });
  const says = ({ code, stdout, stderr }: CliResult, pattern: RegExp) => {
    assert.equal(code, 3);
    assert.equal(stdout, '');
    assert.match(stderr, pattern);
    assert.doesNotMatch(stderr, /\n\s+at /, 'a stack is no message');
  };

  it('says what to do without a key, without a gateway, or with another server', async () => {
    says(await prlx(['nodes']), /No API key for http:\/\/127\.0\.0\.1:8420[^]*npm start/);
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    says(await prlx(['nodes'], keyed(nowhere)), /doesn't answer \(ECONNREFUSED\)[^]*npm start/);
    const server = createServer((_request, response) => response.end('<html>')).listen(0);
    const { port } = server.address() as AddressInfo;
    says(await prlx(['nodes'], keyed(`http://127.0.0.1:${port}`)), /not as a gateway does/);
    server.close();
  });

  it('--json prints errors as JSON, and nothing else', async () => {
    const { code, stdout, stderr } = await prlx(['nodes', '--json']);
    assert.deepEqual([code, stderr], [3, '']);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
    assert.equal(error.code, 'cli.no_api_key');
  });

  it('wants a prompt', async () => {
    const { code, stderr } = await prlx(['chat'], { ...keyed('http://127.0.0.1:1'), input: ' \n' });
    assert.equal(code, 2);
    assert.match(stderr, /The prompt is empty/);
  });
});
