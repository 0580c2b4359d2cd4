import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  issueNodeCertificate,
  issueServerCertificate,
  selfSignedCa,
  type Issuer,
} from '../../crypto/certificates.ts';
import { generateRsa, type NodeKeys } from '../../crypto/keys.ts';
import { exportPrivatePem } from '../../crypto/private-pem.ts';
import type { TlsMaterial } from '../../nodes/channel.ts';

const HOUR_SECONDS = 3_600;

/** A network's CA, and what it signs. */
export interface TestNetworkCa {
  /** PEM. */
  readonly ca: string;
  /** What a node of the network presents. */
  node(keys: NodeKeys): Promise<Required<TlsMaterial>>;
  /** What an edge of the network on this machine presents. */
  server(): Promise<Required<TlsMaterial>>;
}

/** A CA of its own, in memory. */
export async function testNetworkCa(): Promise<TestNetworkCa> {
  const pair = await generateRsa();
  const ca = await selfSignedCa(pair, 'test network');
  const issuer: Issuer = { certificate: new X509Certificate(ca), privateKey: pair.privateKey };
  return {
    ca,
    async node({ nodeId, signing }) {
      const { publicKey, privateKey } = signing;
      const issued = await issueNodeCertificate(issuer, publicKey, nodeId, HOUR_SECONDS);
      return { key: exportPrivatePem(privateKey), cert: issued.certificate, ca };
    },
    async server() {
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      const names = ['localhost', '127.0.0.1'];
      const issued = await issueServerCertificate(issuer, publicKey, names, HOUR_SECONDS);
      return { key: exportPrivatePem(privateKey), cert: issued.certificate, ca };
    },
  };
}
