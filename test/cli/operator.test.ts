import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { operatorAddress } from '../../crypto/operator.ts';
import { bindingSigner, type Binding } from '../../protocol/binding.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import vectors from '../../protocol/vectors/binding.json' with { type: 'json' };
import { readBinding } from '../../workers/binding-file.ts';
import { prlx } from '../support/cli.ts';

const nodeId = formatNodeId(new Uint8Array(32).fill(9));

describe('cli: operator new, operator bind', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-operator-'));
  });
  after(() => rm(directory, { recursive: true }));

  const bind = (...args: string[]) => prlx(['operator', 'bind', ...args]);

  it('makes an account, and signs for a node with it, without any gateway', async () => {
    const file = join(directory, 'new', 'operator.key');
    const made = await prlx(['operator', 'new', file]);
    assert.equal(made.code, 0, made.stderr);
    const address = made.stdout.trim();
    const key = (await readFile(file, 'utf8')).trim();
    assert.equal(address, operatorAddress(key as `0x${string}`));
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const bound = await bind(nodeId, '--key-file', file);
    assert.equal(bound.code, 0, bound.stderr);
    assert.match(bound.stderr, new RegExp(`^${address} signs for ${nodeId} until .*chain 31337`));
    assert.ok(!(made.stdout + made.stderr + bound.stdout + bound.stderr).includes(key.slice(2)));
    const binding = JSON.parse(bound.stdout) as Binding;
    assert.equal(await bindingSigner(31_337, nodeId, binding), address);
    const days = (binding.expiresAt - Date.now() / 1_000) / 86_400;
    assert.ok(days > 364.9 && days <= 365, String(days));
    const bindingFile = join(directory, 'binding.json');
    await writeFile(bindingFile, bound.stdout);
    assert.deepEqual(await readBinding(bindingFile, nodeId), binding);
  });

  it('writes over no key', async () => {
    const file = join(directory, 'kept.key');
    const made = await prlx(['operator', 'new', file, '--json']);
    assert.deepEqual(Object.keys(JSON.parse(made.stdout) as object), ['address', 'file']);
    const key = await readFile(file, 'utf8');
    const again = await prlx(['operator', 'new', file]);
    assert.deepEqual([again.code, again.stdout], [2, '']);
    assert.match(again.stderr, /nothing was written \(EEXIST\).*\(cli\.key_file_unusable\)/);
    assert.equal(await readFile(file, 'utf8'), key);
  });

  it('signs with a key from elsewhere, for the days and the chain that it is told', async () => {
    const file = join(directory, 'given.key');
    const [vector] = vectors.cases;
    assert.ok(vector);
    await writeFile(file, vector.privateKey.slice(2), { mode: 0o600 });
    const args = ['--key-file', file, '--days', '2', '--chain-id', '42161', '--json'];
    const { code, stdout, stderr } = await bind(nodeId, ...args);
    assert.deepEqual([code, stderr], [0, '']);
    const binding = JSON.parse(stdout) as Binding;
    assert.equal(await bindingSigner(42_161, nodeId, binding), vector.address);
    assert.ok(binding.expiresAt < Date.now() / 1_000 + 2 * 86_400 + 1);
  });

  it('says what is wrong with a key file or an argument, and never shows a key', async () => {
    const bad = join(directory, 'bad.key');
    const secret = 'a'.repeat(63);
    await writeFile(bad, secret, { mode: 0o600 });
    const open = join(directory, 'open.key');
    await writeFile(open, `0x${'b'.repeat(64)}`);
    await chmod(open, 0o644);
    const zero = join(directory, 'zero.key');
    await writeFile(zero, `0x${'0'.repeat(64)}`, { mode: 0o600 });
    const cases: [string[], RegExp][] = [
      [[nodeId, '--key-file', join(directory, 'none')], /is not there; `prlx operator new`/],
      [[nodeId, '--key-file', bad], /holds no private key/],
      [[nodeId, '--key-file', zero], /holds no private key/],
      [[nodeId, '--key-file', open], /mode 0644/],
      [[nodeId, '--key-file', directory], /can't be read/],
      [[nodeId.slice(0, 11), '--key-file', bad], /its whole id/],
      [[nodeId, '--key-file', bad, '--days', '3651'], /from 1 to 3650/],
      [[nodeId, '--key-file', bad, '--days', '0'], /from 1 to 3650/],
      [[nodeId, '--key-file', bad, '--chain-id', '0'], /the number of a chain/],
    ];
    for (const [args, reason] of cases) {
      const { code, stdout, stderr } = await bind(...args);
      assert.deepEqual([code, stdout], [2, ''], args.join(' '));
      assert.match(stderr, reason);
      assert.ok(!stderr.includes(secret) && !stderr.includes('b'.repeat(64)));
    }
  });
});
