import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server that answers as a test says, to see what its caller makes of it. */
export interface GatewayStub {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startGatewayStub(
  answer: (path: string, response: ServerResponse, request: IncomingMessage) => void,
): Promise<GatewayStub> {
  const server = createServer((request, response) => {
    answer(`${request.method} ${request.url}`, response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A request as the API shows it, as far as the command line looks at it. */
export function requestView(changed: object = {}): object {
  const now = new Date().toISOString();
  return {
    id: `req_${'a'.repeat(64)}`,
    status: 'completed',
    model: 'instant',
    priority: 'standard',
    accepted_at: now,
    finished_at: now,
    deadline_at: now,
    reserved_wei: '10',
    charged_wei: '5',
    refunded_wei: '0',
    refund: null,
    delivery: 'validated',
    verification: { sampled: null, outcome: null, message: '' },
    error: null,
    proof_of_execution: null,
    steps: [],
    steps_error: null,
    result: null,
    temporal_url: null,
    ...changed,
  };
}
