import {
  Client,
  credentials,
  Metadata,
  type ClientUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';
import proto from '@temporalio/proto';
import { nodeQueue } from '../../protocol/queues.ts';
import type { TestNodeCertificate } from './test-ca.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const { v1: common } = proto.temporal.api.common;
const SERVICE = '/temporal.api.workflowservice.v1.WorkflowService';

/** What came of a call: bytes, or a status and its text. */
export type RawAnswer =
  { readonly bytes: Buffer } | { readonly status: number; readonly details: string };

export type Poll = ReturnType<typeof service.PollActivityTaskQueueResponse.decode>;

/** A node that speaks gRPC by hand, and says what it wants. */
export interface RawNode {
  readonly nodeId: TestNodeCertificate['nodeId'];
  /** @param path a method of the WorkflowService, or a whole path. */
  call(path: string, message: Uint8Array, timeoutMs?: number): Promise<RawAnswer>;
  /** Opens a poll; `cancel` takes it back. */
  poll(queue?: string, timeoutMs?: number): { answer: Promise<RawAnswer>; cancel(): void };
  /** Polls until there is a task. */
  task(): Promise<Poll>;
  complete(taskToken: Uint8Array, result: unknown): Promise<RawAnswer>;
  heartbeat(taskToken: Uint8Array): Promise<RawAnswer>;
  close(): void;
}

export function rawNode(address: string, ca: string, node: TestNodeCertificate): RawNode {
  const client = new Client(
    address,
    credentials.createSsl(Buffer.from(ca), Buffer.from(node.key), Buffer.from(node.cert)),
    {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_send_message_length': -1,
      'grpc.ssl_target_name_override': 'localhost',
    },
  );
  function start(path: string, message: Uint8Array, timeoutMs: number) {
    let call: ClientUnaryCall | undefined;
    const answer = new Promise<RawAnswer>((resolve) => {
      call = client.makeUnaryRequest<Uint8Array, Buffer>(
        path.startsWith('/') ? path : `${SERVICE}/${path}`,
        (bytes) => Buffer.from(bytes),
        (bytes) => bytes,
        message,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error: ServiceError | null, bytes) =>
          resolve(
            error
              ? { status: error.code, details: error.details }
              : { bytes: bytes ?? Buffer.alloc(0) },
          ),
      );
    });
    return { answer, cancel: () => call?.cancel() };
  }
  const call: RawNode['call'] = (path, message, timeoutMs = 10_000) =>
    start(path, message, timeoutMs).answer;
  const poll: RawNode['poll'] = (queue = nodeQueue(node.nodeId), timeoutMs = 60_000) => {
    const request = { namespace: 'default', taskQueue: { name: queue } };
    const message = service.PollActivityTaskQueueRequest.encode(request).finish();
    return start('PollActivityTaskQueue', message, timeoutMs);
  };
  return {
    nodeId: node.nodeId,
    call,
    poll,
    async task() {
      for (;;) {
        const answer = await poll().answer;
        if (!('bytes' in answer)) throw new Error(`${answer.status} ${answer.details}`);
        if (answer.bytes.length > 0)
          return service.PollActivityTaskQueueResponse.decode(answer.bytes);
      }
    },
    complete(taskToken, result) {
      const payload = common.Payload.create({
        metadata: { encoding: Buffer.from('json/plain') },
        data: Buffer.from(JSON.stringify(result)),
      });
      const said = { taskToken, result: { payloads: [payload] } };
      return call(
        'RespondActivityTaskCompleted',
        service.RespondActivityTaskCompletedRequest.encode(said).finish(),
      );
    },
    heartbeat: (taskToken) =>
      call(
        'RecordActivityTaskHeartbeat',
        service.RecordActivityTaskHeartbeatRequest.encode({ taskToken }).finish(),
      ),
    close: () => client.close(),
  };
}
