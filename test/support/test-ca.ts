import { generateKeyPair, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import {
  issueNodeCertificate,
  issueServerCertificate,
  selfSignedCa,
  type Issuer,
} from '../../crypto/certificates.ts';
import { exportSpki, nodeIdOf, type KeyPair } from '../../crypto/keys.ts';
import type { NodeId } from '../../protocol/ids.ts';

/** A certificate and its key, in PEM. */
export interface TestCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface TestNodeCertificate extends TestCertificate {
  readonly nodeId: NodeId;
}

/** What may be odd about a node's certificate. */
export interface CertificateChanges {
  /** How long it is valid; an hour by default, and it may be over. */
  readonly seconds?: number;
  /** That of an edge, with the node's key. */
  readonly isServer?: boolean;
  /** The id that it names, by default the node's own. */
  readonly namedId?: NodeId;
}

export interface TestCa {
  readonly ca: string;
  /** The CA's own, with which nobody should come. */
  readonly key: string;
  /** A new node. */
  node(changes?: CertificateChanges): Promise<TestNodeCertificate>;
  /** An edge on this machine. */
  edge(): Promise<TestCertificate>;
}

const HOUR_SECONDS = 3_600;
const generate = promisify(generateKeyPair);
const EDGE_NAMES = ['localhost', '127.0.0.1'];

/** A network's CA. */
export async function testCa(): Promise<TestCa> {
  const keyPair = await newKeyPair();
  const ca = await selfSignedCa(keyPair, 'test network');
  const issuer: Issuer = {
    certificate: new X509Certificate(ca),
    privateKey: keyPair.privateKey,
  };
  let used = 0;
  return {
    ca,
    key: pem(keyPair),
    async node({ seconds = HOUR_SECONDS, isServer = false, namedId } = {}) {
      const node = await keyPairs.at(used++);
      const nodeId = nodeIdOf(exportSpki(node.publicKey));
      const { certificate } = isServer
        ? await issueServerCertificate(issuer, node.publicKey, EDGE_NAMES, seconds)
        : await issueNodeCertificate(issuer, node.publicKey, namedId ?? nodeId, seconds);
      return { nodeId, key: pem(node), cert: certificate };
    },
    async edge() {
      const edge = await generate('ec', { namedCurve: 'P-256' });
      const { certificate } = await issueServerCertificate(
        issuer,
        edge.publicKey,
        EDGE_NAMES,
        HOUR_SECONDS,
      );
      return { key: pem(edge), cert: certificate };
    },
  };
}

/** Making one takes a second: each network has the same nodes, one after the other. */
const keyPairs = {
  made: [] as Promise<KeyPair>[],
  at(index: number): Promise<KeyPair> {
    return (this.made[index] ??= newKeyPair());
  },
};

function newKeyPair(): Promise<KeyPair> {
  return generate('rsa', { modulusLength: 3072 });
}

function pem({ privateKey }: KeyPair): string {
  return privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}
