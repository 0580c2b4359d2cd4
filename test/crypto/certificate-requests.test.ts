import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import * as fc from 'fast-check';
import forge from 'node-forge';
import {
  certificateRequest,
  checkCertificateRequest,
  checkServerRequest,
  REQUEST_CHARACTERS_MAX,
} from '../../crypto/certificate-requests.ts';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import { CodedError } from '../../protocol/errors.ts';
import { encryptionPrivateKey, signingPrivateKey, signingPublicKey } from './fixtures.ts';

const node = { publicKey: signingPublicKey, privateKey: signingPrivateKey };
const edge = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const weak = generateKeyPairSync('rsa', { modulusLength: 2048 });

describe('crypto/certificate-requests', () => {
  let request: string;
  let serverRequest: string;
  before(async () => {
    request = await certificateRequest(node, 'a node');
    serverRequest = await certificateRequest(edge, 'an edge');
  });

  it('says of a request whose key it has', () => {
    const { publicKey, nodeId } = checkCertificateRequest(request);
    assert.ok(publicKey.equals(signingPublicKey));
    assert.equal(nodeId, nodeIdOf(exportSpki(signingPublicKey)));
    assert.ok(checkServerRequest(serverRequest).equals(edge.publicKey));
  });

  it('reads what another library wrote, with attributes of all kinds', () => {
    const other = forge.pki.createCertificationRequest();
    other.publicKey = forge.pki.publicKeyFromPem(
      signingPublicKey.export({ format: 'pem', type: 'spki' }).toString(),
    );
    other.setSubject([{ name: 'commonName', value: 'nd_other' }]);
    other.setAttributes([
      {
        name: 'extensionRequest',
        extensions: [{ name: 'basicConstraints', cA: true }],
      },
    ]);
    const pem = signingPrivateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    other.sign(forge.pki.privateKeyFromPem(pem), forge.md.sha256.create());
    const text = forge.pki.certificationRequestToPem(other);
    assert.ok(checkCertificateRequest(text).publicKey.equals(signingPublicKey));
  });

  it('refuses another kind of key, a weak one, and a signature that another key made', async () => {
    const foreign = { publicKey: signingPublicKey, privateKey: encryptionPrivateKey };
    const other = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    refuses(checkCertificateRequest, {
      'P-256': serverRequest,
      'RSA-2048': await certificateRequest(weak, 'weak'),
      'not its own key': await certificateRequest(foreign, 'foreign'),
    });
    refuses(checkServerRequest, { RSA: request, 'P-384': await certificateRequest(other, 'edge') });
  });

  it('refuses what is not one request in PEM', () => {
    const deep = Buffer.concat([
      Buffer.alloc(5_000, Buffer.from('3080', 'hex')),
      Buffer.alloc(900),
    ]);
    refuses(checkCertificateRequest, {
      nothing: '',
      'too long': request.padEnd(REQUEST_CHARACTERS_MAX + 1, '\n'),
      'a lot of space': ' '.repeat(REQUEST_CHARACTERS_MAX),
      'a lot of beginnings': '-----BEGIN CERTIFICATE REQUEST-----\n'.repeat(200),
      'two of them': request + request,
      'text before it': `x\n${request}`,
      'another label': request.replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'),
      'a byte more': pemOf(Buffer.concat([derOf(request), Buffer.of(0)])),
      'nested without end': pemOf(deep),
      'an empty sequence': pemOf(Buffer.from('3000', 'hex')),
      'not DER: a length in more bytes than it needs': pemOf(
        Buffer.concat([Buffer.from('308300', 'hex'), derOf(request).subarray(2)]),
      ),
    });
  });

  it('refuses each request in which a bit was turned, or that was cut', () => {
    for (const [pem, check] of [
      [request, checkCertificateRequest],
      [serverRequest, checkServerRequest],
    ] as const) {
      const der = derOf(pem);
      for (let at = 0; at < der.length; at++) {
        const turned = Buffer.from(der);
        turned[at] = (turned[at] ?? 0) ^ (1 << (at % 8));
        refuses(check, { [`byte ${at}`]: pemOf(turned) });
        refuses(check, { [`cut at ${at}`]: pemOf(der.subarray(0, at)) });
      }
    }
  });

  it('refuses whatever else it is sent', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4_000 }), (bytes) =>
        refuses(checkCertificateRequest, { bytes: pemOf(bytes) }),
      ),
    );
    fc.assert(
      fc.property(fc.string({ maxLength: 1_000, unit: 'binary' }), (text) =>
        refuses(checkCertificateRequest, { text }),
      ),
    );
  });
});

function refuses(check: (pem: string) => unknown, hostile: Record<string, string>): void {
  for (const [name, pem] of Object.entries(hostile))
    assert.throws(
      () => check(pem),
      (error) => error instanceof CodedError && error.code === 'node.certificate_refused',
      name,
    );
}

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replaceAll(/-----.*-----/g, ''), 'base64');
}

function pemOf(der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64');
  const label = 'CERTIFICATE REQUEST';
  return `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;
}
