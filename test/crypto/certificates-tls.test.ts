import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { NativeConnection } from '@temporalio/worker';
import {
  issueNodeCertificate,
  issueServerCertificate,
  selfSignedCa,
} from '../../crypto/certificates.ts';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import { handshake, type TlsSide } from '../support/tls.ts';
import {
  encryptionPrivateKey,
  encryptionPublicKey,
  signingPrivateKey,
  signingPublicKey,
} from './fixtures.ts';

const PYTHON_CLIENT = `
import socket, ssl, sys
ca, cert, key, port = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain(cert, key)
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(port))),
                         server_hostname='127.0.0.1') as tls:
    print(tls.version(), tls.recv(2).decode())
`;

describe('crypto/certificates: who accepts them', () => {
  let edge: Required<TlsSide>;
  let node: Required<TlsSide>;
  let stranger: string;
  before(async () => {
    const pair = { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey };
    const ca = await selfSignedCa(pair, 'ParalleliX CA of a test');
    const issuer = { certificate: new X509Certificate(ca), privateKey: encryptionPrivateKey };
    const nodeId = nodeIdOf(exportSpki(signingPublicKey));
    const server = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const names = ['localhost', '127.0.0.1'];
    const [ofNode, ofEdge] = await Promise.all([
      issueNodeCertificate(issuer, signingPublicKey, nodeId, 600),
      issueServerCertificate(issuer, server.publicKey, names, 600),
    ]);
    node = { key: pemOf(signingPrivateKey), cert: ofNode.certificate, ca };
    edge = { key: pemOf(server.privateKey), cert: ofEdge.certificate, ca };
    const other = { publicKey: signingPublicKey, privateKey: signingPrivateKey };
    stranger = await selfSignedCa(other, 'ParalleliX CA of a test');
  });

  it('OpenSSL, on both sides, for what each certificate is for', async () => {
    assert.deepEqual(await handshake(edge, node), { ofClient: 'ok', ofServer: 'ok' });
    const swapped = await handshake(node, edge);
    assert.match(swapped.ofClient, /INVALID_PURPOSE/);
    assert.match(swapped.ofServer, /INVALID_PURPOSE/);
  });

  it('OpenSSL refuses a CA of the same name, and who signed for himself', async () => {
    const misled = await handshake({ ...edge, ca: stranger }, { ...node, ca: stranger });
    assert.notEqual(misled.ofClient, 'ok');
    assert.notEqual(misled.ofServer, 'ok');
    const selfSigned = await handshake(edge, { ...node, cert: stranger });
    assert.notEqual(selfSigned.ofClient, 'ok');
  });

  it("rustls, in the Temporal SDK's core", async () => {
    const server = createSecureServer({ ...edge, requestCert: true, rejectUnauthorized: true });
    // The answer to GetSystemInfo: a message of no bytes, and the status OK.
    server.on('stream', (stream) => {
      stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.alloc(5));
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const connect = (ca: string) =>
      NativeConnection.connect({
        address: `127.0.0.1:${port}`,
        tls: {
          serverRootCACertificate: Buffer.from(ca),
          clientCertPair: { crt: Buffer.from(node.cert), key: Buffer.from(node.key) },
        },
      });
    try {
      await (await connect(node.ca)).close();
      await (await connect(stranger + node.ca)).close();
      await assert.rejects(connect(stranger));
    } finally {
      server.close();
    }
  });

  it("Python's ssl, at its strictest", async function () {
    if (spawnSync('python3', ['--version']).status !== 0) this.skip();
    const directory = await mkdtemp(join(tmpdir(), 'parallelix-tls-'));
    const server = createServer({ ...edge, requestCert: true, minVersion: 'TLSv1.3' });
    const accepted: boolean[] = [];
    server.on('secureConnection', (socket: TLSSocket) => {
      accepted.push(socket.authorized);
      socket.end('ok');
    });
    try {
      const files = { 'ca.pem': node.ca, 'node.pem': node.cert, 'key.pem': node.key };
      for (const [name, text] of Object.entries(files))
        await writeFile(join(directory, name), text, { mode: 0o600 });
      const paths = Object.keys(files).map((name) => join(directory, name));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { port } = server.address() as AddressInfo;
      const args = ['-c', PYTHON_CLIENT, ...paths, String(port)];
      const { stdout } = await promisify(execFile)('python3', args);
      assert.equal(stdout, 'TLSv1.3 ok\n');
      assert.deepEqual(accepted, [true]);
    } finally {
      server.close();
      await rm(directory, { recursive: true });
    }
  });
});

function pemOf(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}
