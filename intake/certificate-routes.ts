import type { FastifyInstance, FastifyRequest } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { isNodeId, type NodeId } from '../protocol/ids.ts';
import {
  certifyEdge,
  enrolNode,
  renewCertificate,
  type CertificateDependencies,
} from './certificates.ts';
import { assertEdge } from './edge-auth.ts';

/** A request of 8 KB, a token, twenty names. */
const BODY_BYTES_MAX = 32 * 1024;

export interface CertificateRouteDependencies extends CertificateDependencies {
  /** What an edge must present. */
  readonly edgeToken: string;
}

/** Certificates for edges, and for nodes by way of edges. */
export function certificateRoutes(
  app: FastifyInstance,
  dependencies: CertificateRouteDependencies,
): void {
  const options = { bodyLimit: BODY_BYTES_MAX };
  void app.register(async (routes) => {
    // Before the body is read: a stranger's isn't.
    routes.addHook('onRequest', async (request) => assertEdge(request, dependencies.edgeToken));
    routes.post('/v1/nodes/:nodeId/enroll', options, (request) =>
      enrolNode(dependencies, nodeOf(request), request.body),
    );
    routes.post('/v1/nodes/:nodeId/certificate', options, (request) =>
      renewCertificate(dependencies, nodeOf(request), request.body),
    );
    routes.get('/v1/edge/ca', async () => ({ ca: (await dependencies.ca()).trusted }));
    routes.post('/v1/edge/certificate', options, (request) =>
      certifyEdge(dependencies, request.body),
    );
  });
}

function nodeOf(request: FastifyRequest): NodeId {
  const { nodeId } = request.params as { nodeId?: string };
  if (!isNodeId(nodeId)) throw new CodedError('node.certificate_refused', 'That is no node id.');
  return nodeId;
}
