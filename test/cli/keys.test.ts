import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSiweMessage, parseSiweMessage, type SiweMessage } from 'viem/siwe';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { prlx } from '../support/cli.ts';
import { startGatewayStub } from '../support/gateway-stub.ts';
import { startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';
import { post, type KeyAnswer } from '../support/sign-in.ts';

describe('cli: keys, account', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  const privateKey = generatePrivateKey();
  const account = privateKeyToAccount(privateKey).address.toLowerCase();
  let gateway: LoneGateway;
  let directory: string;
  let wallet: string;
  before(async () => {
    gateway = await startLoneGateway();
    directory = await mkdtemp(join(tmpdir(), 'plx-keys-'));
    wallet = join(directory, 'wallet.key');
    await writeFile(wallet, privateKey, { mode: 0o600 });
  });
  after(async () => {
    await gateway.stop();
    await rm(directory, { recursive: true });
  });

  /** Without any key in the environment. */
  const keyless = (...args: string[]) => prlx(args, { env: { PLX_GATEWAY_URL: gateway.url } });
  const as = (key: string, ...args: string[]) =>
    prlx(args, {
      env: { PLX_GATEWAY_URL: gateway.url, PLX_API_KEY: key },
    });

  it('signs for a key, with which others are made, listed, rotated and revoked', async () => {
    const signed = ['--scope', 'keys,read,inference', '--sign-with', wallet];
    const made = await keyless('keys', 'new', '--name', 'Laptop', ...signed);
    assert.equal(made.code, 0, made.stderr);
    const key = made.stdout.trim();
    assert.match(key, /^plx-[\w-]{43}$/);
    const [, id = ''] = /^It is (key_[0-9a-f]{8}) of /.exec(made.stderr) ?? [];
    assert.equal(made.stderr, `It is ${id} of ${account}, and isn't shown again.\n`);

    const limits = ['--budget', '0.5', '--period', 'day', '--requests-per-minute', '60'];
    const second = await as(key, 'keys', 'new', '--name', 'CI', '--days', '3', ...limits);
    assert.equal(second.code, 0, second.stderr);
    const [, secondId = ''] = /^It is (key_\w+) of /.exec(second.stderr) ?? [];

    const rotated = await as(key, 'keys', 'rotate', secondId, '--overlap', '3600', '--json');
    const { key: secret, id: whole } = JSON.parse(rotated.stdout) as KeyAnswer;
    assert.equal(rotated.stderr, '');
    assert.ok(whole.startsWith(secondId) && secret !== second.stdout.trim());
    assert.equal((await as(second.stdout.trim(), 'status')).code, 0);

    const list = await as(key, 'keys', 'list');
    const [head, ...lines] = list.stdout.trimEnd().split('\n');
    assert.match(head ?? '', /^key +begins +status +scopes +made +ends +limits +name$/);
    const line = (start: string) => lines.find((each) => each.startsWith(start)) ?? '';
    const begins = secret.slice(0, 8);
    assert.match(
      line(secondId),
      new RegExp(`^\\S+ +${begins} +active +inference,read +.* in 2 d `),
    );
    assert.match(line(secondId), / 0\.5 PRLX a day, 60 requests\/min +CI$/);
    assert.match(line(id), / active +inference,read,keys +.* ago +– +– +Laptop$/);
    assert.equal((await as(key, 'keys')).code, 0);

    const revoked = await as(key, 'keys', 'revoke', secondId);
    assert.equal(revoked.stdout, `${whole} is revoked.\n`);
    assert.equal((await as(secret, 'status')).code, 3);
    const told = made.stderr + list.stdout + revoked.stdout + rotated.stderr;
    for (const each of [key, secret, privateKey.slice(2)]) assert.ok(!told.includes(each));
  });

  it('makes an account for that', async () => {
    const file = join(directory, 'new.key');
    const made = await prlx(['account', 'new', file]);
    assert.equal(made.code, 0, made.stderr);
    const key = await keyless('keys', 'new', '--name', 'x', '--sign-with', file, '--json');
    assert.equal((JSON.parse(key.stdout) as KeyAnswer).account, made.stdout.trim());
  });

  it('says what is wrong, and shows neither keys nor secrets', async () => {
    const open = join(directory, 'open.key');
    await writeFile(open, privateKey);
    await chmod(open, 0o644);
    const make = ['keys', 'new', '--name', 'x'];
    const cases: [string[], number, RegExp][] = [
      [[...make, '--sign-with', join(directory, 'none')], 2, /`prlx account new` makes one/],
      [[...make, '--sign-with', open], 2, /mode 0644/],
      [[...make, '--scope', 'admin', '--sign-with', wallet], 2, /--scope takes inference, read/],
      [[...make, '--budget', '1e5', '--sign-with', wallet], 2, /--budget is PRLX/],
      [[...make, '--concurrency', '0', '--sign-with', wallet], 2, /limits\.concurrency/],
      [[...make, '--chain-id', '1', '--sign-with', wallet], 1, /it is for chain 31337, not 1/],
      [make, 3, /cli\.no_api_key/],
      [['keys', 'new'], 2, /--name/],
    ];
    for (const [args, code, reason] of cases) {
      const result = await keyless(...args);
      assert.deepEqual([result.code, result.stdout], [code, ''], args.join(' '));
      assert.match(result.stderr, reason);
      assert.ok(!result.stderr.includes(privateKey.slice(2)));
    }
    const secret = `plx-${'s'.repeat(43)}`;
    const revoked = await as(secret, 'keys', 'revoke', secret);
    assert.equal(revoked.code, 2);
    assert.ok(!revoked.stderr.includes(secret));
  });

  it('signs nothing but what was asked for, for the gateway that was asked', async () => {
    const honest = async (address: string, spec: object) =>
      (await post(gateway.url, '/v1/auth/nonce', { address, ...spec })).body;
    const asked = { name: 'x', scopes: ['inference', 'read'] };
    let sent = '';
    const seen: string[] = [];
    const stub = await startGatewayStub((path, response) => {
      seen.push(path);
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ message: sent }));
    });
    try {
      const relayed = (await honest(account, asked)).message;
      const fields = parseSiweMessage(relayed) as SiweMessage;
      const own = { ...fields, domain: new URL(stub.url).host, uri: `${stub.url}/v1/auth/keys` };
      const broader = (await honest(account, { ...asked, scopes: ['keys'] })).message;
      const { statement } = parseSiweMessage(broader);
      assert.ok(statement);
      const cases: [string, RegExp][] = [
        [relayed, /it is for 127\.0\.0\.1:\d+, not 127/],
        [createSiweMessage({ ...own, statement }), /it asks for another key/],
        [createSiweMessage({ ...own, requestId: 'more' }), /not in the form/],
        [createSiweMessage({ ...own, uri: `${gateway.url}/v1/auth/keys` }), /not in the form/],
        ['Give me all your money.', /it is for no domain/],
      ];
      for (const [message, reason] of cases) {
        sent = message;
        const { code, stderr } = await prlx(['keys', 'new', '--name', 'x', '--sign-with', wallet], {
          env: { PLX_GATEWAY_URL: stub.url },
        });
        assert.equal(code, 1);
        assert.match(stderr, /Nothing was signed/);
        assert.match(stderr, reason);
      }
      assert.deepEqual([...new Set(seen)], ['POST /v1/auth/nonce']);
    } finally {
      await stub.stop();
    }
  });
});
