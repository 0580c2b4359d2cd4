import { status } from '@grpc/grpc-js';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { frame } from './grpc-message.ts';
import type { EdgeCode } from './refusals.ts';

export interface Reply {
  readonly message: Uint8Array;
  /** Told when the reply could not be handed over. */
  readonly onLost?: () => void;
}

/** How a refusal is said in gRPC; its text is the code. */
export const STATUSES: Readonly<Record<EdgeCode, status>> = {
  'edge.unauthenticated': status.UNAUTHENTICATED,
  'edge.forbidden': status.PERMISSION_DENIED,
  'edge.queue_forbidden': status.PERMISSION_DENIED,
  'edge.token_invalid': status.PERMISSION_DENIED,
  'edge.node_removed': status.PERMISSION_DENIED,
  'edge.malformed': status.INVALID_ARGUMENT,
  'edge.too_many': status.RESOURCE_EXHAUSTED,
  'edge.too_large': status.RESOURCE_EXHAUSTED,
  'edge.too_slow': status.DEADLINE_EXCEEDED,
  'edge.unavailable': status.UNAVAILABLE,
};

/**
 * Sends an answer with the status OK.
 *
 * @param answerMs until it has to be taken.
 */
export function answer(
  stream: ServerHttp2Stream,
  { message, onLost }: Reply,
  answerMs: number,
): void {
  if (stream.destroyed || stream.closed) return onLost?.();
  const overdue = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), answerMs).unref();
  let isHandedOver = false;
  stream.once('wantTrailers', () => {
    isHandedOver = true;
    stream.sendTrailers({ 'grpc-status': String(status.OK) });
  });
  stream.once('close', () => {
    clearTimeout(overdue);
    if (!isHandedOver || stream.rstCode !== constants.NGHTTP2_NO_ERROR) onLost?.();
  });
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', 'grpc-accept-encoding': 'gzip' },
    { waitForTrailers: true },
  );
  stream.end(frame(message));
}

/** Sends a status without an answer. */
export function endCall(stream: ServerHttp2Stream, code: status, message: string): void {
  if (stream.destroyed || stream.closed) return;
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': String(code),
      'grpc-message': message,
    },
    { endStream: true },
  );
  // The rest of what it sends is of no use to anybody (RFC 9113 §8.1).
  setImmediate(() => {
    if (!stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
  });
}
