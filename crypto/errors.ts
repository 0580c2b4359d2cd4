/** What can be wrong with an envelope, a ticket, a frame or a key. */
export type EnvelopeErrorCode =
  /** Not the structure, the algorithms or the encodings that the protocol has. */
  | 'envelope.malformed'
  /** Larger than the protocol allows; nothing was decrypted. */
  | 'envelope.oversize'
  /** Sealed to a key that isn't in the ring. */
  | 'envelope.unknown_key'
  /** The key is right by name, but the content doesn't authenticate: altered, or another key. */
  | 'envelope.undecryptable'
  /** Genuine, but of another unit, attempt or node. */
  | 'envelope.wrong_context'
  /** A stream frame that is repeated, missing, out of order or behind the end. */
  | 'stream.out_of_order'
  /** The request was sealed with other clear parameters, or for another requester's key. */
  | 'dispatch.parameters_mismatch'
  /** A public key that isn't of the kind or strength that the protocol demands. */
  | 'key.unsuitable'
  /** A private key file that other users of the machine can read. */
  | 'key.file_exposed'
  /** A private key file that doesn't hold what its name says. */
  | 'key.file_invalid'
  /** Encrypted private keys, and no passphrase. */
  | 'key.passphrase_missing'
  /** The passphrase isn't the one of the encrypted private keys. */
  | 'key.passphrase_wrong'
  /** Certificates and keys of a CA that no network can be run with. */
  | 'ca.invalid';

/**
 * A failure in `crypto/`, with a stable code. Messages name keys by `kid` and never hold key
 * material or plaintext. Callers turn it into the step's own code of docs/errors.md, since the
 * same envelope is opened by several parties.
 */
export class EnvelopeError extends Error {
  override readonly name = 'EnvelopeError';
  readonly code: EnvelopeErrorCode;

  constructor(code: EnvelopeErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
