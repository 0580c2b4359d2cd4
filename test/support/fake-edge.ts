import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { NodeKeys } from '../../crypto/keys.ts';
import type { EdgeAccess } from '../../nodes/channel.ts';
import { testNetworkCa } from './certificates.ts';

/** Something that a node takes for its edge, and that may say anything. */
export interface FakeEdge {
  readonly access: EdgeAccess;
  /** Gives the node another certificate from now on. */
  renew(): Promise<void>;
  close(): Promise<void>;
}

export async function startFakeEdge(
  keys: NodeKeys,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<FakeEdge> {
  const network = await testNetworkCa();
  let tls = await network.node(keys);
  const requestCert = { requestCert: true, rejectUnauthorized: true };
  const server = createServer({ ...(await network.server()), ...requestCert }, answer);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    access: { address: `127.0.0.1:${port}`, tls: () => tls },
    async renew() {
      tls = await network.node(keys);
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
