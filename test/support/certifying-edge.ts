import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';
import { checkCertificateRequest } from '../../crypto/certificate-requests.ts';
import {
  certifiedNodeId,
  issueNodeCertificate,
  issueServerCertificate,
  selfSignedCa,
  type Issuer,
} from '../../crypto/certificates.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { encryptionPrivateKey, encryptionPublicKey } from '../crypto/fixtures.ts';

/** What a node asked of it. */
export interface CertificateCall {
  readonly path: string;
  /** Of its client certificate; null without one. */
  readonly nodeId: NodeId | null;
  readonly body: { readonly csr: string; readonly joinToken?: string };
}

/** An edge that does nothing but give out certificates, as its test wants it. */
export interface CertifyingEdge {
  readonly address: string;
  readonly ca: string;
  readonly issuer: Issuer;
  readonly calls: CertificateCall[];
  seconds: number;
  /** Refuses with this code. */
  refusal: string | undefined;
  /** Whether certificates are taken at all: if not, connections that have one are cut. */
  takesCertificates: boolean;
  /** Answered instead of what it issued. */
  answer: object | undefined;
  close(): Promise<void>;
}

export async function certifyingEdge(): Promise<CertifyingEdge> {
  const pair = { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey };
  const ca = await selfSignedCa(pair, 'CA of a test');
  const issuer = { certificate: new X509Certificate(ca), privateKey: encryptionPrivateKey };
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { certificate: cert } = await issueServerCertificate(
    issuer,
    own.publicKey,
    ['127.0.0.1'],
    3_600,
  );
  const server = createServer(
    {
      key: own.privateKey.export({ format: 'pem', type: 'pkcs8' }),
      cert,
      ca,
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => void serve(request, response),
  );
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const edge: CertifyingEdge = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca,
    issuer,
    calls: [],
    seconds: 3_600,
    refusal: undefined,
    takesCertificates: true,
    answer: undefined,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const socket = request.socket as TLSSocket;
    const peer = socket.getPeerX509Certificate();
    if (peer && !(socket.authorized && edge.takesCertificates)) return void socket.destroy();
    const body = (await json(request)) as CertificateCall['body'];
    const nodeId = peer ? certifiedNodeId(peer) : null;
    edge.calls.push({ path: request.url ?? '', nodeId, body });
    // Whoever sees the call may change them.
    const { refusal, answer: changed } = edge;
    if (refusal !== undefined) {
      const error = { code: refusal, message: 'text of the edge' };
      response.writeHead(403).end(JSON.stringify({ error }));
      return;
    }
    const asked = checkCertificateRequest(body.csr);
    const issued = await issueNodeCertificate(issuer, asked.publicKey, asked.nodeId, edge.seconds);
    const { certificate, expiresAtMs } = issued;
    const renewAtMs = Math.round(expiresAtMs - (edge.seconds * 1_000) / 3);
    const answer = {
      certificate,
      ca,
      expiresAt: new Date(expiresAtMs).toISOString(),
      renewAt: new Date(renewAtMs).toISOString(),
      ...changed,
    };
    response.writeHead(200).end(JSON.stringify(answer));
  }

  return edge;
}
