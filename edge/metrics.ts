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
