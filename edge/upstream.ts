import {
  Client,
  credentials,
  Metadata,
  status,
  type CallOptions,
  type ServiceError,
} from '@grpc/grpc-js';
import { Refusal } from './refusals.ts';

/** Temporal, as the edge calls it. */
export interface Upstream {
  /**
   * Calls a method of the WorkflowService with an encoded message.
   *
   * @param method such as `PollActivityTaskQueue`.
   * @throws UpstreamError
   */
  call(method: string, message: Uint8Array, options: UpstreamOptions): Promise<Buffer>;
  close(): void;
}

export interface UpstreamOptions {
  readonly deadlineMs: number;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

/** What Temporal answered instead; nodes get none of its words. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError';
  readonly status: status;

  constructor(error: ServiceError) {
    super(error.details, { cause: error });
    this.status = error.code;
  }
}

/** What a node is told of it. */
export function refusalOf(error: UpstreamError): Refusal {
  const code = error.status === status.INVALID_ARGUMENT ? 'edge.malformed' : 'edge.unavailable';
  return new Refusal(code, `Temporal: ${status[error.status]}`);
}

const SERVICE = '/temporal.api.workflowservice.v1.WorkflowService';
/** Temporal's own limit for one message is below that. */
const MESSAGE_BYTES = 8 * 2 ** 20;

/**
 * Connects to Temporal with the edge's own credential. Open polls have a connection of their own,
 * so that answers never wait behind them.
 */
export function connectUpstream(address: string, namespace: string): Upstream {
  const connect = () =>
    new Client(address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': MESSAGE_BYTES,
      'grpc.max_send_message_length': MESSAGE_BYTES,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
    });
  const [polls, others] = [connect(), connect()];
  const metadata = new Metadata();
  metadata.set('temporal-namespace', namespace);
  return {
    call: (method, message, { deadlineMs, signal }) =>
      new Promise((resolve, reject) => {
        const client = method.startsWith('Poll') ? polls : others;
        const options: CallOptions = { deadline: deadlineMs };
        const cancel = () => call.cancel();
        const call = client.makeUnaryRequest<Uint8Array, Buffer>(
          `${SERVICE}/${method}`,
          asBuffer,
          (bytes) => bytes,
          message,
          metadata,
          options,
          (error, answer) => {
            signal?.removeEventListener('abort', cancel);
            if (error) reject(new UpstreamError(error));
            else resolve(answer ?? Buffer.alloc(0));
          },
        );
        if (signal?.aborted) cancel();
        else signal?.addEventListener('abort', cancel, { once: true });
      }),
    close() {
      polls.close();
      others.close();
    },
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
