import type { Recovery, StepName } from './lifecycle.ts';

/** One row of docs/errors.md; a test keeps the two equal. */
export interface ErrorDefinition {
  /** Where it is detected. */
  readonly step: StepName | 'gateway' | 'channel';
  readonly recovery: Recovery;
  /** What an API caller sees if it ends the request. */
  readonly httpStatus: number;
  /** One sentence for people; callers may rely on the code, never on this text. */
  readonly message: string;
  /** What an API caller reads in `error.code`, where apps know it by another name. */
  readonly apiCode?: string;
  /** Whether it counts against the node that was dispatched to. */
  readonly blamesNode?: true;
}

/** Every failure the product knows, by its stable code. */
export const ERRORS = {
  'receive.malformed_request': row('receive', 'reject', 400, 'The request is malformed.'),
  'receive.payload_too_large': row('receive', 'reject', 413, 'The request body is too large.'),
  'receive.unauthorized': row('receive', 'reject', 401, 'The API key is missing or unknown.'),
  'receive.unknown_model': row('receive', 'reject', 404, 'No model of that name is served.'),
  'receive.unknown_workload_class': row('receive', 'reject', 400, 'Unknown workload class.'),
  'receive.insufficient_credit': row(
    'receive',
    'reject',
    402,
    'The account has too little credit to reserve for this request.',
  ),
  'receive.budget_exhausted': row(
    'receive',
    'reject',
    402,
    'The API key has used up its budget of this period.',
  ),
  'receive.rate_limited': row(
    'receive',
    'reject',
    429,
    'The API key asks for more than its limits allow.',
  ),
  'receive.credit_account_forbidden': row(
    'receive',
    'reject',
    403,
    'The API key may not charge that account.',
  ),
  'receive.no_price': row(
    'receive',
    'reject',
    400,
    'No price is published for that model, tier and priority.',
  ),
  'receive.idempotency_mismatch': row(
    'receive',
    'reject',
    422,
    'The Idempotency-Key was used before, for another request.',
  ),
  'receive.envelope_invalid': row(
    'receive',
    'reject',
    400,
    'The sealed payload is not a JWE for one of the current intake keys.',
  ),
  'receive.not_started': row(
    'receive',
    'fail',
    503,
    'The request was accepted but no workflow could be started for it.',
  ),
  'schedule.deadline_elapsed': {
    ...row(
      'schedule',
      'fail',
      503,
      'No node that can serve the request became free before its deadline.',
    ),
    apiCode: 'capacity_unavailable',
  },
  'dispatch.node_unreachable': row(
    'dispatch',
    'redispatch',
    503,
    'The node did not pick the work up in time.',
  ),
  // Without blame: nobody before the node can tell whether a payload opens, so a hostile caller
  // could make honest nodes report it.
  'dispatch.envelope_rejected': row(
    'dispatch',
    'redispatch',
    400,
    'The sealed payload can not be opened, or is not one of its workload class.',
  ),
  'node.deadline_exceeded': blame('execute', 504, 'The node missed the deadline.'),
  'execute.node_lost': row(
    'execute',
    'redispatch',
    503,
    'The connection to the node was lost while it was executing.',
  ),
  'execute.backend_failed': row('execute', 'redispatch', 502, 'The model backend failed.'),
  'execute.context_exceeded': row(
    'execute',
    'redispatch',
    400,
    'Prompt and maximum output together exceed the context of the model.',
  ),
  'execute.invalid_request': row(
    'execute',
    'redispatch',
    400,
    'The sealed payload asks for something that no backend can run.',
  ),
  'execute.cancelled': row('execute', 'fail', 499, 'The request was cancelled.'),
  'poe.missing': blame('prove', 502, 'The node returned no Proof-of-Execution.'),
  'poe.malformed': blame('prove', 502, 'The return or its PoE is malformed.'),
  'poe.unknown_scheme': blame('prove', 502, 'The PoE names an unknown scheme.'),
  'poe.bad_signature': blame('validate', 502, 'The PoE is not signed by the node.'),
  'poe.hash_mismatch': blame('validate', 502, 'The PoE does not match the result.'),
  'poe.oversize': blame('validate', 502, 'The return is larger than the request allows.'),
  'poe.result_invalid': blame('validate', 502, 'The result does not fit the request.'),
  'poe.stream_mismatch': blame('validate', 502, 'The result is not what was streamed.'),
  'poe.replayed': blame('validate', 502, "The PoE is that of another of the node's units."),
  'poe.foreign_node': blame('validate', 502, 'The PoE is that of another node.'),
  'validate.node_removed': row(
    'validate',
    'redispatch',
    503,
    'The node was removed from the pool while it had the request.',
  ),
  'validate.disagreement': row(
    'validate',
    'vote',
    502,
    'Another node, asked to check, has another result.',
  ),
  'validate.minority': {
    ...row('validate', 'vote', 502, 'The result of the node lost a vote.'),
    blamesNode: true,
  },
  'validate.overruled': row(
    'validate',
    'fail',
    502,
    'A random check found that most nodes have another result: the request is free.',
  ),
  'validate.no_majority': row(
    'validate',
    'fail',
    502,
    'A random check found no two nodes with the same result: the request is free.',
  ),
  'validate.hash_only': row(
    'validate',
    'accept',
    200,
    'Drawn to be checked, but no independent node could be asked.',
  ),
  'node.removed_wrong_results': removal('The node lost too many votes on its results.'),
  'node.removed_bad_proofs': removal('The node returned too many bad proofs.'),
  'relay.forbidden': channel(403, 'The token is not that of this attempt.'),
  'relay.too_many': channel(429, 'The node has more streams open than it can have attempts.'),
  'relay.bad_frame': channel(400, 'A stream frame is malformed, out of order or not authentic.'),
  'node.registration_invalid': channel(400, 'The registration of the node is malformed.'),
  'node.registration_refused': channel(403, 'The registration of the node is not authentic.'),
  'node.operator_unknown': channel(403, 'The node names an operator that is not known here.'),
  'node.operator_mismatch': channel(409, 'The node is registered with another operator.'),
  'node.canary_failed': channel(503, 'The node failed a request by which it is measured.'),
  'node.unknown': channel(404, 'No such node is registered; register again.'),
  'node.heartbeat_invalid': channel(400, 'The heartbeat of the node is malformed.'),
  'node.heartbeat_replayed': channel(409, 'The heartbeat answers a nonce that was answered.'),
  'node.binding_invalid': channel(403, 'No operator has signed for the node.'),
  'node.certificate_refused': channel(400, 'The certificate signing request is not acceptable.'),
  'node.join_refused': channel(403, 'The network takes new nodes with a join token only.'),
  'edge.unauthenticated': channel(401, 'The certificate is missing, or not valid here.'),
  'edge.forbidden': channel(403, 'Nodes may not call that.'),
  'edge.queue_forbidden': channel(403, 'A node may poll its own queue only.'),
  'edge.token_invalid': channel(403, 'The task token is not one of this node.'),
  'edge.malformed': channel(400, 'The message can not be read.'),
  'edge.too_many': channel(429, 'The node, or its address, asks for more than its share.'),
  'edge.too_large': channel(413, 'The message is larger than any may be.'),
  'edge.too_slow': channel(408, 'The message did not arrive in time.'),
  'edge.node_removed': channel(403, 'The node was removed from the pool.'),
  'edge.unavailable': channel(503, 'The edge can not reach what is behind it, or is stopping.'),
  'blob.not_found': channel(404, 'No such blob, or none that the node may read.'),
  'blob.digest_mismatch': channel(400, 'The bytes are not those of that digest.'),
  'blob.too_large': channel(413, 'The blob is larger than any may be.'),
  'blob.quota_exceeded': channel(403, 'So much is kept for the node that no more is taken.'),
  'edge.undelivered': row(
    'dispatch',
    'redispatch',
    503,
    'The node was gone when its work was about to reach it.',
  ),
  'node.heartbeat_lost': absence('The node sent no heartbeat for too long, and is offline.'),
  'node.backend_gone': absence('The node says that its backend can not serve.'),
  'node.draining': absence('The node is draining: it ends what it has and takes nothing new.'),
  'coordinator.internal': row('receive', 'fail', 500, 'The coordinator failed unexpectedly.'),
  'coordinator.run_lost': row(
    'receive',
    'fail',
    503,
    'The run of the request was ended from outside, or lost.',
  ),
  'gateway.coordinator_unreachable': gateway(503, 'No coordinator can be reached.'),
  'gateway.request_not_found': gateway(404, 'No such request in this account.'),
  'gateway.request_ended': gateway(409, 'The request has ended: there is nothing to cancel.'),
  'gateway.node_not_found': gateway(404, 'No such node is in the pool.'),
  'gateway.admin_required': gateway(403, 'Only an admin key may do that.'),
  'gateway.node_not_removed': gateway(409, 'The node is not removed: nothing is to be decided.'),
  'gateway.join_token_not_found': gateway(404, 'No such join token is in use.'),
  'gateway.epoch_not_found': gateway(404, 'No such sampling epoch was published.'),
  'gateway.epoch_not_revealed': gateway(409, 'The secret of the epoch is not published yet.'),
  'gateway.steps_unavailable': gateway(503, 'The run of the request did not tell its steps.'),
  'gateway.key_not_found': gateway(404, 'No such API key in this account.'),
  'gateway.too_many_keys': gateway(409, 'The account has as many API keys as it may have.'),
  'gateway.account_not_found': gateway(404, 'No such account.'),
  'gateway.scope_missing': gateway(403, 'The API key lacks the scope that this needs.'),
  'gateway.sign_in_invalid': gateway(401, 'The sign-in message or its signature is not valid.'),
  'gateway.body_too_slow': gateway(408, 'The request did not arrive in time.'),
  'gateway.reader_too_slow': gateway(408, 'The caller did not read its stream in time.'),
  'gateway.overloaded': gateway(503, 'The gateway has as many calls open as it can take.'),
  'gateway.media_type_unsupported': gateway(400, 'The body must be JSON.'),
  'gateway.route_not_found': gateway(404, 'No such route.'),
  'gateway.stream_superseded': gateway(
    502,
    'The node that was streaming was replaced and the new text differs; fetch the result instead.',
  ),
} as const satisfies Record<string, ErrorDefinition>;

export type ErrorCode = keyof typeof ERRORS;

/** The row of a code. */
export function errorDefinition(code: ErrorCode): ErrorDefinition {
  return ERRORS[code];
}

/** Whether a string, from outside perhaps, is a code of the table. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** What a program may want to know of a failure beside its code: JSON, shown to the caller. */
export type ErrorMetadata = Readonly<Record<string, unknown>>;

/** A failure with a stable code. `detail` is shown to the caller: keep secrets out of it. */
export class CodedError extends Error {
  override readonly name = 'CodedError';
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly metadata: ErrorMetadata | undefined;

  constructor(
    code: ErrorCode,
    detail?: string,
    { metadata, ...options }: { cause?: unknown; metadata?: ErrorMetadata | undefined } = {},
  ) {
    super(detail ? `${ERRORS[code].message} ${detail}` : ERRORS[code].message, options);
    this.code = code;
    this.detail = detail;
    this.metadata = metadata;
  }
}

function row(
  step: StepName,
  recovery: Recovery,
  httpStatus: number,
  message: string,
): ErrorDefinition {
  return { step, recovery, httpStatus, message };
}

/** A failure that the node answers for: the attempt is dropped and flagged, and work goes on. */
function blame(step: StepName, httpStatus: number, message: string): ErrorDefinition {
  return { step, recovery: 'redispatch', httpStatus, message, blamesNode: true };
}

/** What a node is told on its side channel; it ends nothing. */
function channel(httpStatus: number, message: string): ErrorDefinition {
  return { step: 'channel', recovery: 'reject', httpStatus, message };
}

/** A node that gets no work for now; it ends no attempt by itself. */
function absence(message: string): ErrorDefinition {
  return { step: 'channel', recovery: 'wait', httpStatus: 503, message };
}

/** Why a node is no longer in the pool. */
function removal(message: string): ErrorDefinition {
  return { step: 'channel', recovery: 'remove', httpStatus: 403, message };
}

function gateway(httpStatus: number, message: string): ErrorDefinition {
  return { step: 'gateway', recovery: 'reject', httpStatus, message };
}
