import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import { Agent, request } from 'undici';
import { caSource } from '../../crypto/ca.ts';
import { certificateRequest } from '../../crypto/certificate-requests.ts';
import { nodeKeysOf } from '../../crypto/keys.ts';
import { certificateRoutes } from '../../intake/certificate-routes.ts';
import { nodeIdentity, type NodeIdentity } from '../../nodes/identity.ts';
import { CodedError, errorDefinition } from '../../protocol/errors.ts';
import {
  encryptionPrivateKey,
  encryptionPublicKey,
  signingPrivateKey,
  signingPublicKey,
} from '../crypto/fixtures.ts';
import { EDGE_TOKEN, startTestEdge, type TestEdge } from '../support/network-edge.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';
import { until } from '../support/until.ts';

const CERTIFICATE_SECONDS = 9;
const keys = nodeKeysOf(
  { publicKey: signingPublicKey, privateKey: signingPrivateKey },
  { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey },
);

/** Node, edge and coordinator, with nothing between them replaced. */
describe('edge: how a node gets its certificates', () => {
  let db: TestDatabase;
  let coordinator: FastifyInstance;
  let edge: TestEdge;
  let directory: string;
  let identity: NodeIdentity | undefined;

  before(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    directory = await mkdtemp(join(tmpdir(), 'parallelix-enrolment-'));
    coordinator = fastify();
    coordinator.setErrorHandler((error, _request, reply) => {
      if (!(error instanceof CodedError)) throw error;
      const { code, message } = error;
      return reply.code(errorDefinition(code).httpStatus).send({ error: { code, message } });
    });
    certificateRoutes(coordinator, {
      database: db.database,
      ca: caSource({ directory: (await testServers()).directory }),
      certificateSeconds: CERTIFICATE_SECONDS,
      join: 'open',
      edgeToken: EDGE_TOKEN,
    });
    const coordinatorUrl = await coordinator.listen({ host: '127.0.0.1', port: 0 });
    edge = await startTestEdge({ databaseUrl: db.url, coordinatorUrl, name: 'enrolment' });
  });
  after(async () => {
    await identity?.stop();
    await edge.stop();
    await coordinator.close();
    await db.close();
    await rm(directory, { recursive: true });
  });

  const start = () =>
    nodeIdentity({
      keys,
      directory,
      edgeAddress: edge.address,
      ca: edge.ca,
      log: { info: () => undefined, warn: () => undefined },
    });

  async function post(path: string, body: object, tls: object = {}): Promise<string> {
    const dispatcher = new Agent({ connect: { ca: edge.ca, ...tls } });
    try {
      const response = await request(`https://${edge.address}${path}`, {
        dispatcher,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const { error } = (await response.body.json()) as { error?: { code: string } };
      return error?.code ?? String(response.statusCode);
    } finally {
      await dispatcher.destroy();
    }
  }

  it('enrols it, and renews its certificate while it runs', async () => {
    identity = await start();
    const { cert } = identity.tls();
    let renewals = 0;
    identity.onRenewed(() => renewals++);
    await until(() => renewals > 0, 'renewed');
    assert.notEqual(identity.tls().cert, cert);
    const rows = await db.database.nodeCertificate.findMany();
    assert.equal(rows.length, 2);
    assert.ok(rows.every(({ nodeId }) => nodeId === keys.nodeId));
  });

  it('renews for nobody but the node of the certificate, and enrols for no other key', async () => {
    const tls = identity?.tls() ?? assert.fail();
    const csr = await certificateRequest(keys.signing, 'own');
    const other = await certificateRequest(keys.encryption, 'other');
    assert.equal(
      await post('/v1/node/certificate', { csr: other }, tls),
      'node.certificate_refused',
    );
    assert.equal(await post('/v1/node/certificate', { csr }, tls), '200');
    assert.equal(await post('/v1/node/certificate', { csr }), 'edge.unauthenticated');
    assert.equal(await post('/v1/enroll', { csr: 'nonsense' }), 'node.certificate_refused');
  });

  it('gives a node that was removed no other one', async () => {
    await identity?.stop();
    await rm(join(directory, 'certificate.pem'));
    await addPoolNode(db.database, { id: keys.nodeId, status: 'removed' });
    await until(async () => {
      const refused = await start().then(
        (taken) => taken.stop(),
        (error: unknown) => error instanceof CodedError && error.code === 'edge.node_removed',
      );
      return refused === true;
    }, 'refused');
  });
});
