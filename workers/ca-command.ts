import { access, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  addCa,
  caSource,
  dropOldCas,
  issueWithNewestCa,
  nextCaStep,
  type CaRing,
} from '../crypto/ca.ts';
import { expiryMs, notBeforeMs } from '../crypto/certificates.ts';
import { EnvelopeError } from '../crypto/errors.ts';
import { ConfigError, coordinatorEnv } from './config.ts';
import { edgeCaPath, writeEdgeCa } from './embedded/edge-ca.ts';

const USAGE = `Usage: npm run ca -- show|add|issue|drop [FILE] [--certificate-seconds N] [--now]
  show   the network's CAs, and from when the next step is safe
  add    step 1: makes a new CA, which is trusted from now on
  issue  step 2: the newest CA issues from now on
  drop   step 3: the CA that issues is the only one that is trusted
issue and drop refuse until the file was left as it is for as long as certificates are valid:
PLX_CERTIFICATE_SECONDS, 7 days by default, or --certificate-seconds. --now does it anyway and cuts
off who hasn't renewed; docs/certificates.md says why. FILE is by default PLX_CA if that is a path,
else ca.pem in PLX_COORDINATOR_KEYS, else that of \`npm start\` in PLX_DATA_DIR.`;

type Env = Readonly<Record<string, string | undefined>>;

const STEPS: Readonly<Record<string, (path: string) => Promise<CaRing>>> = {
  show: readCa,
  add: addCa,
  issue: issueWithNewestCa,
  drop: dropOldCas,
};

/**
 * One step of a CA's rotation.
 *
 * @returns what the CAs are now, and what comes next, for people.
 * @throws ConfigError with what to do instead.
 */
export async function caCommand(args: readonly string[], env: Env): Promise<string> {
  const { name, file, certificateSeconds, isNow } = readArgs(args, env);
  const step = Object.hasOwn(STEPS, name) ? STEPS[name] : undefined;
  if (!step) throw new ConfigError(USAGE);
  const path = file ?? caFile(env);
  try {
    if (!isNow) await refuseTooEarly(name, path, certificateSeconds);
    const ring = await step(path);
    const edgeCa = name === 'show' ? undefined : await updateEdgeCa(path, ring, env);
    return [
      path,
      ...describe(ring),
      `Next step: ${await nextStep(path, ring, certificateSeconds)}`,
      ...(edgeCa === undefined ? [] : [`${edgeCa} has the certificates of these, too.`]),
      '',
    ].join('\n');
  } catch (error) {
    throw error instanceof EnvelopeError ? new ConfigError(error.message) : error;
  }
}

function readArgs(args: readonly string[], env: Env) {
  const { values, positionals } = parse(args);
  const [name = '', file, ...more] = positionals;
  if (more.length > 0) throw new ConfigError(USAGE);
  const seconds = coordinatorEnv.shape.PLX_CERTIFICATE_SECONDS.safeParse(
    values['certificate-seconds'] ?? env['PLX_CERTIFICATE_SECONDS'],
  );
  if (!seconds.success)
    throw new ConfigError(
      '--certificate-seconds, or PLX_CERTIFICATE_SECONDS, must be a whole number from 30 to ' +
        '2592000: what the coordinators of the network have.',
    );
  return { name, file, certificateSeconds: seconds.data, isNow: values.now === true };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { now: { type: 'boolean' }, 'certificate-seconds': { type: 'string' } },
    });
  } catch {
    throw new ConfigError(USAGE);
  }
}

function caFile({ PLX_CA: given, PLX_COORDINATOR_KEYS: keys, ...env }: Env): string {
  if (given?.includes('-----BEGIN '))
    throw new ConfigError('PLX_CA is PEM itself: write it to a file, and name that.');
  return given ?? (keys === undefined ? embeddedCaFile(env) : join(keys, 'ca.pem'));
}

function embeddedCaFile(env: Env): string {
  return join(dataDirectory(env), 'keys', 'coordinator', 'ca.pem');
}

function dataDirectory({ PLX_DATA_DIR: data = '.data' }: Env): string {
  return data;
}

function readCa(path: string): Promise<CaRing> {
  return caSource({ given: path, directory: '' })();
}

/** @throws ConfigError, unless it is the step's turn and nobody can be cut off by it. */
async function refuseTooEarly(name: string, path: string, seconds: number): Promise<void> {
  if (name !== 'issue' && name !== 'drop') return;
  const next = nextCaStep(await readCa(path));
  // Who asks for what can't be done is told that by the step itself.
  if (next === 'add' || (name === 'issue' && next === 'drop')) return;
  if (name !== next)
    throw new ConfigError(
      `It is not time to drop: the CA that was added issues nothing yet, so the next step is ` +
        '`issue`. With --now the CA that was added is dropped again. Nothing was changed.',
    );
  const safe = await safeFrom(path, seconds);
  if (safe.atMs <= Date.now()) return;
  const cutOff =
    name === 'issue'
      ? "nodes that haven't renewed yet don't know the new CA"
      : 'certificates of the old CA are still in use';
  throw new ConfigError(
    `It is too early: \`${name}\` is safe from ${iso(safe.atMs)}. Until then ${cutOff} ` +
      `(${safe.why}). --now does it anyway, and cuts them off. Nothing was changed.`,
  );
}

async function nextStep(path: string, ring: CaRing, seconds: number): Promise<string> {
  const next = nextCaStep(ring);
  if (next === 'add') return '`add`, whenever you want another CA.';
  const { atMs, why } = await safeFrom(path, seconds);
  return `\`${next}\`, safe from ${iso(atMs)} (${why}).`;
}

/** What was issued before the file was last written has ended by then. */
async function safeFrom(path: string, seconds: number) {
  const { mtimeMs } = await stat(path);
  return {
    atMs: mtimeMs + seconds * 1_000,
    why: `the file was last written at ${iso(mtimeMs)}, and certificates last for ${seconds} s`,
  };
}

/** In an embedded network nodes find the certificates in a file. @returns it, if there is one. */
async function updateEdgeCa(path: string, ring: CaRing, env: Env): Promise<string | undefined> {
  if (resolve(path) !== resolve(embeddedCaFile(env))) return undefined;
  const edgeCa = edgeCaPath(dataDirectory(env));
  const isThere = await access(edgeCa).then(
    () => true,
    () => false,
  );
  if (!isThere) return undefined;
  await writeEdgeCa(edgeCa, ring);
  return edgeCa;
}

function describe({ members, issuer }: CaRing): string[] {
  return members.map((member) => {
    const { subject, fingerprint256 } = member.certificate;
    const role = member === issuer ? 'issues ' : 'trusted';
    const from = iso(notBeforeMs(member.certificate));
    const until = iso(expiryMs(member.certificate));
    const digest = `           SHA-256 ${fingerprint256}`;
    return `  ${role}  ${subject}, from ${from} until ${until}\n${digest}`;
  });
}

/** UTC, to the second that has begun by then. */
function iso(atMs: number): string {
  return new Date(Math.ceil(atMs / 1_000) * 1_000).toISOString().replace('.000', '');
}
