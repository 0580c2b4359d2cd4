import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Gauge, type Registry } from 'prom-client';

/** Numbers of an edge that are read when somebody looks. */
export interface EdgeGauges {
  readonly connections: () => number;
  readonly polls: () => number;
  readonly inFlight: () => number;
  /** When the edge's own certificate ends, in Unix seconds. */
  readonly certificateExpiresSeconds: () => number;
}

/** Registers what an edge shows besides its refusals. */
export function registerGauges(
  metrics: Registry,
  { connections, polls, inFlight, certificateExpiresSeconds }: EdgeGauges,
): void {
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [metrics],
      collect() {
        this.set(read());
      },
    });
  gauge('plx_edge_grpc_connections', 'Connections of nodes that speak gRPC.', connections);
  gauge('plx_edge_open_polls', 'Polls that are open.', polls);
  gauge('plx_edge_tasks_in_flight', 'Tasks that nodes have got here and not answered.', inFlight);
  gauge(
    'plx_edge_certificate_expires_seconds',
    'When the certificate of the edge ends, in Unix seconds.',
    certificateExpiresSeconds,
  );
}

export interface MetricsServer {
  readonly port: number;
  close(): void;
}

/** Serves `GET /metrics` to this machine only, in Prometheus's text format. */
export async function serveMetrics(metrics: Registry, port: number): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    metrics.metrics().then(
      (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
