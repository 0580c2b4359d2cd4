import proto from '@temporalio/proto';
import { X509Certificate } from 'node:crypto';
import { nodeQueue } from '../../protocol/queues.ts';
import type { Attack, Expected, Scene, Told } from './attack.ts';
import {
  currentTerms,
  foreignAuthority,
  issued,
  lapsedTerms,
  selfSigned,
  signingKeys,
  signingRequest,
  type Credentials,
} from './certificates.ts';
import { GrpcAttacker } from './grpc.ts';
import { bodyOf, exchange, exchangeInClear, request, type RawOptions } from './raw.ts';

const { PollActivityTaskQueueRequest } = proto.temporal.api.workflowservice.v1;

const HEARTBEAT = request('POST', '/v1/node/heartbeat', { ready: true, running: [] });
/** The client's half of a connection without TLS (RFC 9113 3.4), and an empty SETTINGS frame. */
const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

type Make = (scene: Scene) => Credentials | undefined | Promise<Credentials | undefined>;

/** Over gRPC, and over HTTP/1.1. */
function withCertificate(
  name: string,
  make: Make,
  expects: readonly Expected[] = ['closed'],
): readonly Attack[] {
  const known = new WeakMap<Scene, ReturnType<Make>>();
  const attack = (
    way: string,
    run: (scene: Scene, made: Credentials) => Promise<Told>,
  ): Attack => ({
    name: `${name}, over ${way}`,
    group: 'certificates',
    expects,
    async run(scene) {
      const made = known.get(scene) ?? make(scene);
      known.set(scene, made);
      const credentials = await made;
      return credentials ? run(scene, credentials) : null;
    },
  });
  return [
    attack('gRPC', ({ edge }, made) => pollOwn(new GrpcAttacker(edge, made), made)),
    attack('HTTP', ({ edge }, credentials) =>
      exchange(edge, request('GET', '/v1/node/commands'), { credentials }),
    ),
  ];
}

/** Asks for the work of whoever the certificate names. */
async function pollOwn(attacker: GrpcAttacker, { cert }: Pick<Credentials, 'cert'>): Promise<Told> {
  const { subjectAltName = '' } = new X509Certificate(cert);
  const taskQueue = { name: `node.${subjectAltName.replace('URI:urn:plx:', '')}` };
  const poll = PollActivityTaskQueueRequest.encode({ namespace: 'default', taskQueue }).finish();
  const told = await attacker.call('PollActivityTaskQueue', poll, { patienceMs: 3_000 });
  attacker.close();
  return told;
}

function other(
  name: string,
  expects: readonly Expected[],
  run: (scene: Scene) => Promise<Told>,
): Attack {
  return { name, group: 'certificates', expects, run };
}

/** A key that the stranger's own certificate vouches for, as if it were an authority. */
const byANode: Make = async ({ stranger, victim }) => {
  const made = issued(await signingKeys(), currentTerms(victim), stranger.credentials);
  return { key: made.key, cert: `${made.cert}${stranger.credentials.cert}` };
};

const byAnotherAuthority: Make = async ({ stranger, victim }) =>
  issued(stranger.keys, currentTerms(victim), await foreignAuthority());

const byAnAuthorityOfTheSameName: Make = async ({ edge, stranger }) =>
  issued(stranger.keys, currentTerms(stranger.keys.nodeId), await foreignAuthority(edge.ca));

const oldTls = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const;

function enrol(
  name: string,
  csr: (scene: Scene) => string | Promise<string>,
  expects: readonly Expected[] = ['node.certificate_refused'],
): Attack {
  return other(name, expects, async (scene) => {
    const body = { csr: await csr(scene) };
    const told = await exchange(scene.edge, request('POST', '/v1/enroll', body));
    // A certificate for its own key is everybody's right; one that says more isn't.
    const isStolen = told.status === 'HTTP 200' && namesIn(told).includes(scene.victim);
    return isStolen ? { ...told, status: "another's certificate" } : told;
  });
}

function namesIn(told: Told): string {
  const { certificate } = JSON.parse(bodyOf(told)) as { certificate: string };
  const { subject, subjectAltName = '' } = new X509Certificate(certificate);
  return `${subject} ${subjectAltName}`;
}

const RAW: RawOptions = { alpn: ['h2'] };

/** Somebody else, or nobody. */
export const IDENTITY_ATTACKS: readonly Attack[] = [
  ...withCertificate('an expired certificate', ({ lapsed }) => lapsed.expired),
  ...withCertificate('a removed node', ({ lapsed }) => lapsed.removed, ['edge.node_removed']),
  ...withCertificate('a self-signed certificate', ({ stranger }) => selfSigned(stranger.keys)),
  ...withCertificate("a self-signed one that names another's id", ({ stranger, victim }) =>
    selfSigned(stranger.keys, currentTerms(victim)),
  ),
  ...withCertificate('a self-signed one that is over', ({ stranger }) =>
    selfSigned(stranger.keys, lapsedTerms(stranger.keys.nodeId)),
  ),
  ...withCertificate('one of another authority', byAnotherAuthority),
  ...withCertificate('one of an authority by the same name', byAnAuthorityOfTheSameName),
  ...withCertificate("one that a node's certificate vouches for", byANode),
  other('no certificate, over gRPC', ['closed'], ({ edge, stranger }) =>
    pollOwn(new GrpcAttacker(edge), stranger.credentials),
  ),
  other('no certificate, a heartbeat', ['edge.unauthenticated'], ({ edge }) =>
    exchange(edge, HEARTBEAT),
  ),
  other('no certificate, the commands', ['edge.unauthenticated'], ({ edge }) =>
    exchange(edge, request('GET', '/v1/node/commands')),
  ),
  other('no certificate, renewal of one', ['edge.unauthenticated'], ({ edge, stranger }) =>
    exchange(edge, request('POST', '/v1/node/certificate', { csr: signingRequest(stranger.keys) })),
  ),
  other('plain HTTP', ['closed'], ({ edge }) => exchangeInClear(edge, HEARTBEAT)),
  other('plain HTTP/2', ['closed'], ({ edge }) => exchangeInClear(edge, PREFACE)),
  other('TLS 1.2, HTTP', ['closed'], ({ edge, stranger }) =>
    exchange(edge, HEARTBEAT, { credentials: stranger.credentials, tls: oldTls }),
  ),
  other('TLS 1.2, gRPC', ['closed'], ({ edge, stranger }) =>
    exchange(edge, PREFACE, { ...RAW, credentials: stranger.credentials, tls: oldTls }),
  ),
  other("its own certificate, another's queue", ['edge.queue_forbidden'], (scene) =>
    scene.accomplice.grpc.call(
      'PollActivityTaskQueue',
      PollActivityTaskQueueRequest.encode({
        namespace: 'default',
        taskQueue: { name: nodeQueue(scene.victim) },
      }).finish(),
      { patienceMs: 3_000 },
    ),
  ),
  enrol('a request that is none', () => 'none'),
  enrol('a request that is too long', () => `-----${'x'.repeat(20_000)}`, ['edge.too_large']),
  enrol('a request that its key did not sign', ({ stranger }) => {
    const lines = signingRequest(stranger.keys).trim().split(/\r?\n/);
    // In the last line is the end of the signature.
    const last = lines.length - 2;
    lines[last] = (lines[last] ?? '').replace(/^./, (first) => (first === 'A' ? 'B' : 'A'));
    return lines.join('\n');
  }),
  enrol(
    "a request in another's name",
    ({ stranger, victim }) => signingRequest(stranger.keys, victim),
    ['accepted', 'node.certificate_refused'],
  ),
  other('renewal with another key', ['node.certificate_refused'], async ({ stranger }) =>
    stranger.post('/v1/node/certificate', { csr: signingRequest(await signingKeys()) }),
  ),
];
