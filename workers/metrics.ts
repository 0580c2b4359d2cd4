import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Counter, Gauge, type Registry } from 'prom-client';

export interface MetricsServer {
  readonly port: number;
  close(): void;
}

/**
 * Serves `GET /metrics` to this machine only, in Prometheus's text format: what a role has
 * registered, and what prom-client tells of its process.
 */
export async function serveMetrics(metrics: Registry, port: number): Promise<MetricsServer> {
  collectDefaultMetrics({ register: metrics });
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

/** Serves them if the environment names a port, for as long as the role's process lasts. */
export async function serveMetricsOn(port: number | undefined, metrics: Registry): Promise<void> {
  if (port !== undefined) await serveMetrics(metrics, port);
}

/** Registers a number that is read when somebody looks. */
export function gauge(metrics: Registry, name: string, help: string, read: () => number): Gauge {
  return new Gauge({
    name,
    help,
    registers: [metrics],
    collect() {
      this.set(read());
    },
  });
}

/** The same of one that only grows, and is counted elsewhere. */
export function counter(
  metrics: Registry,
  name: string,
  help: string,
  read: () => number,
): Counter {
  return new Counter({
    name,
    help,
    registers: [metrics],
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}
