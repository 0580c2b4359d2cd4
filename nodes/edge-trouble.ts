const SAID_CHARACTERS_MAX = 200;

/** What tells an operator that no edge is where the node looks for one. */
const NOBODY_THERE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EPROTO',
  'UND_ERR_CONNECT_TIMEOUT',
]);
/** Of OpenSSL, when the other side doesn't speak TLS, or none that edges speak. */
const NO_TLS =
  /^(ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|UNSUPPORTED_PROTOCOL|\w*PROTOCOL_VERSION)|HPE_)/;
/** Of OpenSSL: the certificate that the other side shows is of nobody whom the node trusts. */
const UNTRUSTED = /^(CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA|ERR_SSL_CERTIFICATE)/;

/** Refusals that the same registration meets again; what the operator can do about each. */
const REGISTRATION_ADVICE: Readonly<Record<string, (nodeId: string) => string>> = {
  'node.binding_invalid': (nodeId) =>
    `Sign with the account's key, for this very node and the network's own chain id: prlx ` +
    `operator bind ${nodeId} --key-file FILE --chain-id ID. Put what it prints into the file at ` +
    'PLX_OPERATOR_BINDING, and start the node again.',
  'node.operator_unknown': () =>
    "Ask whoever runs the network to open an account for the operator's address.",
  'node.operator_mismatch': (nodeId) =>
    `${nodeId} stays with the operator that first signed for it. Give this node keys of its own: ` +
    'set PLX_NODE_KEYS to another directory, and have the new id signed for.',
  'node.registration_refused': () =>
    "Set the machine's clock. If it is right, the keys are damaged: docs/certificates.md.",
  'node.registration_invalid': () =>
    'Mend what the refusal names. If it names nothing, node and network are of different versions.',
};

/** An edge's refusal, by its code; what it says besides is for people alone. */
export class EdgeRefusal extends Error {
  /** Of docs/errors.md; undefined if something between here and the edge answered. */
  readonly code: string | undefined;
  /** Printable ASCII, cut to 200 characters. */
  readonly said: string | undefined;

  constructor(what: string, status: number, code: string | undefined, body: unknown) {
    super(`${what} was answered with ${status}${code ? ` ${code}` : ''}`);
    this.code = code;
    const said = (body as { error?: { message?: unknown } } | undefined)?.error?.message;
    if (typeof said === 'string')
      this.said = said.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, SAID_CHARACTERS_MAX);
  }
}

/** @returns what to do about a refusal that the same registration meets again. */
export function registrationAdvice(error: unknown, nodeId: string): string | undefined {
  const code = error instanceof EdgeRefusal ? error.code : undefined;
  if (code === undefined || !Object.hasOwn(REGISTRATION_ADVICE, code)) return undefined;
  return REGISTRATION_ADVICE[code]?.(nodeId);
}

/** Whether nobody answered, or not in time: then it isn't known how the network is. */
export function isUnreachable(error: unknown): boolean {
  if (error instanceof EdgeRefusal || !(error instanceof Error)) return false;
  return error.name === 'TimeoutError' || codeOf(error) !== undefined;
}

/** @returns which setting to look at, if the edge can't be reached. */
export function connectionAdvice(error: unknown): string | undefined {
  const code = codeOf(error) ?? '';
  if (NOBODY_THERE.has(code) || NO_TLS.test(code) || isTimeout(error))
    return 'No edge answers there: check PLX_EDGE_ADDRESS.';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return 'Its certificate is for another name: check PLX_EDGE_ADDRESS.';
  if (UNTRUSTED.test(code))
    return "Its certificate is not trusted: set PLX_EDGE_CA to the file of the network's CA.";
  return undefined;
}

/** What makes it another reason than the one before. */
function reasonOf(error: unknown): string {
  return codeOf(error) ?? String(error);
}

/** The code of a failed handshake says more than its message. */
export function describe(error: unknown): string {
  const [code, text] = [codeOf(error), String(error)];
  return code === undefined || text.includes(code) ? text : `${code}: ${text}`;
}

/** Tells a reason that is new: each is said once, and again when it has changed. */
export class Reasons {
  #last: string | undefined;

  /** `edge.too_many` follows from asking again, and so doesn't take the place of the cause. */
  isNew(error: unknown): boolean {
    const reason = reasonOf(error);
    if (reason === this.#last) return false;
    if (reason === 'edge.too_many' && this.#last !== undefined) return false;
    this.#last = reason;
    return true;
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError';
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
