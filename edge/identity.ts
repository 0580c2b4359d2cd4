import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { exportSpki, nodeIdOf, rsaPublicKeyFromSpki } from '../crypto/keys.ts';
import type { NodeId } from '../protocol/ids.ts';

/** Who is at the other end of a connection, by its certificate. */
export interface Peer {
  /** SHA-256 of the certificate's key: the key that the node signs proofs with. */
  readonly nodeId: NodeId;
  /** When the certificate expires, in milliseconds since the epoch. */
  readonly notAfterMs: number;
}

export type Identity =
  | { readonly kind: 'node'; readonly peer: Peer }
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'invalid'; readonly reason: string };

/** id-kp-clientAuth (RFC 5280 §4.2.1.12). */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

const identities = new WeakMap<TLSSocket, Identity>();

/** What the certificate of a connection says; looked at once, after the handshake. */
export function identify(socket: TLSSocket): Identity {
  const known = identities.get(socket);
  if (known) return known;
  const identity = look(socket);
  identities.set(socket, identity);
  return identity;
}

/** The node at the other end; null for one without a valid certificate. */
export function peerOf(socket: TLSSocket): Peer | null {
  const identity = identify(socket);
  return identity.kind === 'node' ? identity.peer : null;
}

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates in a PEM text. @throws Error when one of them is none. */
export function certificatesIn(pem: string): readonly X509Certificate[] {
  return (pem.match(CERTIFICATES) ?? []).map((each) => new X509Certificate(each));
}

/** Whether one of these CAs, in PEM, signed the certificate at the other end. */
export function wasIssuedBy(socket: TLSSocket, ca: string): boolean {
  const certificate = socket.getPeerX509Certificate();
  return certificatesIn(ca).some(
    (issuer) => certificate?.checkIssued(issuer) && certificate.verify(issuer.publicKey),
  );
}

function look(socket: TLSSocket): Identity {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return { kind: 'anonymous' };
  // The chain, the dates and the CA's signature were checked by OpenSSL in the handshake.
  if (!socket.authorized)
    return { kind: 'invalid', reason: String(socket.authorizationError ?? 'not authorized') };
  return read(certificate);
}

/**
 * Reads a certificate whose chain is valid. That it is for clients is looked at here as well: the
 * same CA signs the certificates of edges.
 */
function read(certificate: X509Certificate): Identity {
  const invalid = (reason: string): Identity => ({ kind: 'invalid', reason });
  if (!certificate.keyUsage?.includes(CLIENT_AUTH)) return invalid('not a client certificate');
  const notAfterMs = Date.parse(certificate.validTo);
  if (!(notAfterMs > Date.now())) return invalid('expired');
  let nodeId: NodeId;
  try {
    nodeId = nodeIdOf(exportSpki(rsaPublicKeyFromSpki(exportSpki(certificate.publicKey))));
  } catch {
    return invalid('not the key of a node');
  }
  if (certificate.subjectAltName !== `URI:urn:plx:${nodeId}`) return invalid('names another node');
  return { kind: 'node', peer: { nodeId, notAfterMs } };
}
