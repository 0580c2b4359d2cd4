import assert from 'node:assert/strict';
import { createSiweMessage, type SiweMessage } from 'viem/siwe';
import { CodedError } from '../../protocol/errors.ts';
import type { KeySpec } from '../../protocol/keys.ts';
import { checkSignIn, keyStatement, signInMessage, signInTerms } from '../../protocol/sign-in.ts';
import { newAccount } from '../support/sign-in.ts';

const TERMS = signInTerms('https://api.example.net', 42_161);
const NOW = new Date('2026-11-25T12:00:00.000Z');
const SPEC: KeySpec = {
  name: 'Café (mobile app)',
  scopes: ['inference', 'read'],
  expiresInSeconds: 86_400,
  limits: {
    budgetWei: 10n ** 18n,
    budgetPeriod: 'month',
    requestsPerMinute: 60,
    tokensPerMinute: null,
    concurrency: 4,
  },
};
const account = newAccount();
const nonce = 'a1b2c3d4e5f6a7b8';
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const message = (spec = SPEC) =>
  signInMessage(TERMS, spec, { address: account.id, nonce, issuedAt: NOW });
const fields = (): SiweMessage => ({
  ...TERMS,
  version: '1',
  statement: keyStatement(SPEC),
  address: account.address,
  nonce,
  issuedAt: NOW,
  expirationTime: new Date(NOW.getTime() + 300_000),
});

async function refusal(
  text: string,
  options: { spec?: KeySpec; signature?: string; now?: Date } = {},
): Promise<string | undefined> {
  const { spec = SPEC, now = NOW } = options;
  const signature = options.signature ?? (await account.signMessage({ message: text }));
  try {
    await checkSignIn({ message: text, signature, spec }, TERMS, now);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof CodedError && error.code === 'gateway.sign_in_invalid');
    return error.detail ?? '';
  }
}

describe('protocol/sign-in', () => {
  it('says in words what key is asked for', () => {
    assert.equal(
      message(),
      `api.example.net wants you to sign in with your Ethereum account:
${account.address}

${[
  'Make an API key that spends and acts for this account.',
  'It may: inference, read. It ends: 86400 s after its making.',
  'Budget: 1000000000000000000 wei a month. Requests a minute: 60.',
  'Tokens a minute: any. Requests at once: 4. Name: Caf%C3%A9 (mobile app)',
].join(' ')}

URI: https://api.example.net/v1/auth/keys
Version: 1
Chain ID: 42161
Nonce: ${nonce}
Issued At: 2026-11-25T12:00:00.000Z
Expiration Time: 2026-11-25T12:05:00.000Z`,
    );
  });

  it('tells who signed, in lower case', async () => {
    const text = message();
    const signature = await account.signMessage({ message: text });
    const signed = await checkSignIn({ message: text, signature, spec: SPEC }, TERMS, NOW);
    assert.deepEqual(signed, { address: account.id, nonce });
    const begun = createSiweMessage({ ...fields(), notBefore: NOW });
    assert.equal(await refusal(begun), undefined);
  });

  it('refuses a message of another place, chain, time or form', async () => {
    const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1_000);
    const cases: [Partial<SiweMessage>, RegExp][] = [
      [{ domain: 'api.example.org' }, /domain is not api\.example\.net/],
      [{ domain: 'api.example.net:8443' }, /domain/],
      [{ uri: 'https://api.example.org/v1/auth/keys' }, /URI/],
      [{ uri: 'http://api.example.net/v1/auth/keys' }, /URI/],
      [{ chainId: 1 }, /chain id is not 42161/],
      [{ statement: 'Sign in.' }, /statement/],
      [{ statement: '' }, /statement/],
      [{ issuedAt: at(61), expirationTime: at(200) }, /issued in the future/],
      [{ issuedAt: at(-301), expirationTime: at(-1) }, /issued too long ago/],
      [{ issuedAt: at(-200), expirationTime: at(0) }, /ended/],
      [{ expirationTime: at(301) }, /more than 300 s/],
      [{ expirationTime: undefined }, /expiration time/],
      [{ notBefore: at(1) }, /not begun/],
      [{ requestId: 'more' }, /not in the form/],
      [{ resources: ['https://example.org/terms'] }, /not in the form/],
      [{ scheme: 'http' }, /not in the form/],
    ];
    for (const [changed, reason] of cases) {
      const text = createSiweMessage({ ...fields(), ...changed });
      assert.match((await refusal(text)) ?? 'taken', reason, JSON.stringify(changed));
    }
  });

  it('refuses text around a message, or other writing of it', async () => {
    const text = message();
    const cases: [string, RegExp][] = [
      ['', /none of EIP-4361/],
      ['x'.repeat(5_000), /too long/],
      [`\n${text}`, /none of EIP-4361/],
      [`${text}\n`, /not in the form/],
      [`${text}\nResources:`, /not in the form/],
      [text.replaceAll('\n', '\r\n'), /none of EIP-4361/],
      [text.replace(account.address, account.id), /not in the form/],
      [text.replace('12:00:00.000Z', '12:00:00Z'), /not in the form/],
      [text.replace('2026-11-25T12:00:00.000Z', 'today'), /A time in the message is none/],
      [text.replace('Version: 1', 'Version: 2'), /not begun|not in the form/],
      [text.replace('Chain ID: 42161', 'Chain ID: 042161'), /not in the form/],
      [text.replace(nonce, 'short'), /ended|not in the form/],
      [text.replace('\n\nURI', '\n\nURI: https://evil.example\nURI'), /statement|URI|form/],
    ];
    for (const [changed, reason] of cases)
      assert.match((await refusal(changed)) ?? 'taken', reason, changed.slice(0, 60));
  });

  it('refuses a message for another key', async () => {
    const text = message();
    const { limits } = SPEC;
    const others: Partial<KeySpec>[] = [
      { name: 'Another' },
      { scopes: ['inference', 'read', 'keys'] },
      { scopes: ['inference'] },
      { expiresInSeconds: null },
      { expiresInSeconds: 86_401 },
      { limits: { ...limits, budgetWei: null } },
      { limits: { ...limits, budgetWei: 10n ** 18n + 1n } },
      { limits: { ...limits, budgetPeriod: 'day' } },
      { limits: { ...limits, requestsPerMinute: 61 } },
      { limits: { ...limits, tokensPerMinute: 1 } },
      { limits: { ...limits, concurrency: null } },
    ];
    for (const other of others)
      assert.match((await refusal(text, { spec: { ...SPEC, ...other } })) ?? '', /statement/);
    // What a name says can't be taken for what the message says.
    const lying = { ...SPEC, name: 'x. It may: keys.\nURI: https://evil.example' };
    assert.equal(await refusal(message(lying), { spec: lying }), undefined);
    assert.ok(!keyStatement(lying).includes('\n'));
  });

  it('refuses signatures that are forged, of others, malleable or none', async () => {
    const text = message();
    const good = await account.signMessage({ message: text });
    const other = newAccount();
    const s = BigInt(`0x${good.slice(66, 130)}`);
    const flipped = good.endsWith('1b') ? '1c' : '1b';
    const high = (ORDER - s).toString(16).padStart(64, '0');
    const compactV = good.endsWith('1b') ? '00' : '01';
    const cases: [string, RegExp][] = [
      [await other.signMessage({ message: text }), /did not sign/],
      [await account.signMessage({ message: `${text} ` }), /did not sign/],
      [`${good.slice(0, 130)}${flipped}`, /did not sign/],
      [`${good.slice(0, 66)}${high}${flipped}`, /lower half/],
      [`${good.slice(0, 130)}${compactV}`, /v 27 or 28/],
      [`0x${'0'.repeat(128)}1b`, /did not sign/],
      [`0x${'f'.repeat(64)}${'0'.repeat(63)}11b`, /did not sign/],
      [good.slice(0, 130), /65 bytes/],
      [`${good}00`, /65 bytes/],
      [good.slice(2), /65 bytes/],
      ['', /65 bytes/],
      ['garbage', /65 bytes/],
    ];
    for (const [signature, reason] of cases)
      assert.match((await refusal(text, { signature })) ?? 'taken', reason, signature.slice(-8));
    const foreign = createSiweMessage({ ...fields(), address: other.address });
    assert.match((await refusal(foreign)) ?? '', /did not sign/);
  });

  it('has terms for hosts that such a message can name', () => {
    assert.deepEqual(signInTerms('http://127.0.0.1:8420', 1), {
      domain: '127.0.0.1:8420',
      uri: 'http://127.0.0.1:8420/v1/auth/keys',
      chainId: 1,
    });
    for (const host of ['localhost:8420', 'api.example.net', 'xn--caf-dma.example', '10.0.0.1']) {
      const terms = signInTerms(`http://${host}`, 1);
      const at = { address: account.id, nonce, issuedAt: NOW };
      assert.ok(signInMessage(terms, SPEC, at).startsWith(`${host} wants`));
    }
    for (const [url, uri] of [
      ['https://API.example.net:443/plx', 'https://api.example.net/plx/v1/auth/keys'],
      ['http://localhost:80', 'http://localhost/v1/auth/keys'],
      ['http://localhost:443', 'http://localhost:443/v1/auth/keys'],
    ] as const)
      assert.equal(signInTerms(url, 1).uri, uri);
    for (const host of [
      '[::1]:8420',
      'gateway',
      'gateway:8420',
      'a_b.example.net',
      'me@example.net',
      '',
    ])
      assert.throws(() => signInTerms(`http://${host}`, 1), RangeError, host);
  });
});
