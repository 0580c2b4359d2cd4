import assert from 'node:assert/strict';
import { createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addCa, caSource, dropOldCas, issueWithNewestCa, type CaRing } from '../../crypto/ca.ts';
import { issueNodeCertificate } from '../../crypto/certificates.ts';
import { exportPrivatePem } from '../../crypto/private-pem.ts';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import {
  serverCertificate,
  type ServerCertificate,
  type ServerCertificateOptions,
} from '../../edge/server-certificate.ts';
import { certifyEdge } from '../../intake/certificates.ts';
import type { Database } from '../../prisma/client.ts';
import { CodedError } from '../../protocol/errors.ts';
import { signingPrivateKey, signingPublicKey } from '../crypto/fixtures.ts';
import { handshake } from '../support/tls.ts';
import { until } from '../support/until.ts';

describe('edge/server-certificate', () => {
  let directory: string;
  let ca: () => Promise<CaRing>;
  let seconds: number;
  /** How many calls are answered with an outage first. */
  let outages: number;
  let asked: { path: string; body: object | undefined }[];
  let lines: string[];
  let certificate: ServerCertificate | undefined;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'parallelix-edge-'));
    ca = caSource({ directory });
  });
  beforeEach(() => {
    [seconds, outages, asked, lines] = [3_600, 0, [], []];
  });
  afterEach(() => certificate?.stop());
  after(() => rm(directory, { recursive: true }));

  async function start(options: Partial<ServerCertificateOptions> = {}) {
    certificate = await serverCertificate({
      coordinator: { ask },
      names: ['127.0.0.1', 'localhost'],
      log: {
        info: (message: unknown) => void lines.push(String(message)),
        warn: (_fields: unknown, message?: string) => void lines.push(String(message)),
      },
      ...options,
    });
    return certificate;
  }

  /** As a coordinator answers. */
  async function ask(path: string, body?: object): Promise<unknown> {
    asked.push({ path, body });
    if (outages-- > 0) throw new CodedError('edge.unavailable');
    if (path === '/v1/edge/ca') return { ca: (await ca()).trusted };
    const database = undefined as unknown as Database;
    return await certifyEdge({ database, ca, certificateSeconds: seconds, join: 'open' }, body);
  }

  const key = exportPrivatePem(signingPrivateKey);

  /** A node that trusts what the network does now. */
  async function node() {
    const { issuer, trusted } = await ca();
    const nodeId = nodeIdOf(exportSpki(signingPublicKey));
    const issued = await issueNodeCertificate(issuer, signingPublicKey, nodeId, 600);
    return { key, cert: issued.certificate, ca: trusted };
  }

  it('is for the names of the edge, and its key is never told', async () => {
    const { key: own, cert, ca: trusted } = (await start()).current();
    const parsed = new X509Certificate(cert);
    assert.ok(parsed.checkHost('localhost'));
    assert.ok(parsed.publicKey.equals(createPublicKey(own)));
    assert.equal(parsed.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    assert.equal(trusted, (await ca()).trusted);
    assert.deepEqual(
      asked.map(({ path }) => path),
      ['/v1/edge/certificate'],
    );
    assert.ok(!JSON.stringify(asked).includes('PRIVATE'));
    const opinions = await handshake({ key: own, cert, ca: trusted }, await node());
    assert.deepEqual(opinions, { ofClient: 'ok', ofServer: 'ok' });
  });

  it('waits for a coordinator, says so once, and can be given up', async () => {
    outages = 2;
    await start();
    assert.equal(asked.length, 3);
    assert.deepEqual(lines, ['edge // no certificate, will try again']);
    outages = 1_000;
    await assert.rejects(start({ signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
  });

  it('is renewed at two thirds of its life, with another key', async () => {
    seconds = 6;
    const first = (await start({ caLookMs: 100 })).current();
    const startedAtMs = performance.now();
    let renewals = 0;
    certificate?.onRenewed(() => renewals++);
    await until(() => renewals === 1, 'renewed');
    const afterMs = performance.now() - startedAtMs;
    assert.ok(afterMs > 2_500 && afterMs < 6_000, String(afterMs));
    assert.notEqual(certificate?.current().key, first.key);
  });

  it('follows each step of a rotation at once', async () => {
    await start({ caLookMs: 20 });
    let renewals = 0;
    certificate?.onRenewed(() => renewals++);
    const path = join(directory, 'ca.pem');
    const before = await node();
    for (const [index, step] of [addCa, issueWithNewestCa, dropOldCas].entries()) {
      await step(path);
      await until(() => renewals === index + 1, step.name);
      const material = certificate?.current() ?? assert.fail();
      assert.equal(material.ca, (await ca()).trusted);
      assert.deepEqual(await handshake(material, await node()), {
        ofClient: 'ok',
        ofServer: 'ok',
      });
      const isDropped = step === dropOldCas;
      assert.equal((await handshake(material, before)).ofClient === 'ok', !isDropped);
    }
  });

  it('keeps what it has while no coordinator answers', async () => {
    const { cert } = (await start({ caLookMs: 10 })).current();
    outages = 1_000;
    await until(() => asked.length > 5, 'looked');
    assert.equal(certificate?.current().cert, cert);
    assert.deepEqual(lines, []);
  });

  it('keeps what it has, and asks again, when it gets what is no certificate', async function () {
    this.timeout(20_000);
    const block = (text: string) =>
      `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
    const bad = [
      { certificate: 'none' },
      { certificate: block('bm9uZQ==') },
      { ca: 'none' },
      { ca: block('bm9uZQ==') },
      { ca: '' },
    ];
    for (const wrong of bad) {
      lines = [];
      let answered = 0;
      let meanwhile: string | undefined;
      const answer = async (path: string, body?: object): Promise<unknown> => {
        if (path === '/v1/edge/ca') return answered < 3 ? { ca: 'others' } : ask(path);
        answered++;
        if (answered === 3) meanwhile = certificate?.current().cert;
        return { ...((await ask(path, body)) as object), ...(answered === 2 ? wrong : {}) };
      };
      const { cert } = (await start({ caLookMs: 10, coordinator: { ask: answer } })).current();
      await until(() => lines.includes('edge // certificate renewed'), 'the third is taken');
      certificate?.stop();
      assert.equal(meanwhile, cert, JSON.stringify(wrong));
      assert.notEqual(certificate?.current().cert, cert);
      assert.equal(certificate?.current().ca, (await ca()).trusted);
      const again = 'edge // no certificate, will try again';
      assert.deepEqual(lines, [again, 'edge // certificate renewed']);
    }
  });
});
