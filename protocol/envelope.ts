/**
 * The envelopes of design §4: JWE General JSON (RFC 7516 §7.2.1). Member names are the standard's.
 * Binary members are base64url without padding. `envelope-schema.ts` checks what strangers send.
 */

/** What every envelope here has: AES-256-GCM content, one content key per recipient. */
export interface Jwe<Recipient> {
  /** The protected header, base64url of its JSON; always authenticated. */
  readonly protected: string;
  readonly recipients: readonly Recipient[];
  /** Authenticated, in the clear. Requests have it, returns don't. */
  readonly aad?: string;
  readonly iv: string;
  readonly ciphertext: string;
  readonly tag: string;
}

/** An ephemeral public X25519 key (RFC 8037). */
export interface EphemeralKey {
  readonly kty: 'OKP';
  readonly crv: 'X25519';
  readonly x: string;
}

/** A recipient with an X25519 key; `kid` is the key's RFC 7638 thumbprint. */
export interface X25519Recipient {
  readonly header: {
    readonly alg: 'ECDH-ES+A256KW';
    readonly kid: string;
    readonly epk: EphemeralKey;
  };
  readonly encrypted_key: string;
}

/** The coordinator, by a key of its symmetric ring. */
export interface WrapRecipient {
  readonly header: { readonly alg: 'A256KW'; readonly kid: string };
  readonly encrypted_key: string;
}

/** A node, by its RSA encryption key. */
export interface NodeRecipient {
  readonly header: { readonly alg: 'RSA-OAEP-256'; readonly kid: string };
  readonly encrypted_key: string;
}

/** As the requester sealed it, to the coordinator's intake key. */
export type SealedRequest = Jwe<X25519Recipient> & { readonly aad: string };
/** As history, database and logs hold it: the content key wrapped under the coordinator's ring. */
export type WrappedRequest = Jwe<WrapRecipient> & { readonly aad: string };
/** As one node receives it. */
export type DispatchEnvelope = Jwe<NodeRecipient> & { readonly aad: string };
/** A result, to the requester's key and the coordinator's return key. */
export type ReturnEnvelope = Jwe<X25519Recipient>;

/** The one protected header of a request, byte for byte: base64url of `{"enc":"A256GCM"}`. */
export const REQUEST_PROTECTED = 'eyJlbmMiOiJBMjU2R0NNIn0';

/** The coordinator's recipient: the only one that a wrapped request has. */
export function wrapRecipient(jwe: WrappedRequest): WrapRecipient {
  const [recipient] = jwe.recipients;
  if (!recipient) throw new RangeError('A wrapped request has one recipient, this one has none.');
  return recipient;
}

/**
 * Assembles what a node receives: the request with its one recipient replaced by the node. Pure,
 * so that a workflow can do it and history needn't hold the payload twice. `encryptedKey` comes
 * from `dispatchContentKey`; `kid` names whom it's for, the node id.
 */
export function withNodeRecipient(
  jwe: WrappedRequest,
  encryptedKey: string,
  kid: string,
): DispatchEnvelope {
  const recipient: NodeRecipient = {
    header: { alg: 'RSA-OAEP-256', kid },
    encrypted_key: encryptedKey,
  };
  return { ...jwe, recipients: [recipient] };
}
