import { join } from 'node:path';
import { addCa, caSource, dropOldCas, issueWithNewestCa, type CaRing } from '../crypto/ca.ts';
import { EnvelopeError } from '../crypto/errors.ts';
import { ConfigError } from './config.ts';

const USAGE = `Usage: npm run ca -- show|add|issue|drop [FILE]
  show   the network's CAs: the one that issues, and those that are trusted
  add    step 1: makes a new CA, which is trusted from now on
  issue  step 2: the newest CA issues from now on
  drop   step 3: the CA that issues is the only one that is trusted
Between two steps wait for as long as certificates are valid (PLX_CERTIFICATE_SECONDS, 7 days):
docs/certificates.md says why. FILE is by default PLX_CA if that is a path, else ca.pem in
PLX_COORDINATOR_KEYS, else that of \`npm start\`.`;

const STEPS: Readonly<Record<string, (path: string) => Promise<CaRing>>> = {
  show: (path) => caSource({ given: path, directory: '' })(),
  add: addCa,
  issue: issueWithNewestCa,
  drop: dropOldCas,
};

/**
 * One step of a CA's rotation.
 *
 * @returns what the CAs are now, for people.
 * @throws ConfigError with what to do instead.
 */
export async function caCommand(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const [name = '', file, ...more] = args;
  const step = Object.hasOwn(STEPS, name) ? STEPS[name] : undefined;
  if (!step || more.length > 0) throw new ConfigError(USAGE);
  const path = file ?? caFile(env);
  try {
    return `${path}\n${describe(await step(path))}`;
  } catch (error) {
    throw error instanceof EnvelopeError ? new ConfigError(error.message) : error;
  }
}

function caFile({
  PLX_CA: given,
  PLX_COORDINATOR_KEYS: keys,
  PLX_DATA_DIR: data = '.data',
}: Readonly<Record<string, string | undefined>>): string {
  if (given?.includes('-----BEGIN '))
    throw new ConfigError('PLX_CA is PEM itself: write it to a file, and name that.');
  return given ?? join(keys ?? join(data, 'keys', 'coordinator'), 'ca.pem');
}

function describe({ members, issuer }: CaRing): string {
  const lines = members.map((member) => {
    const { subject, validTo, fingerprint256 } = member.certificate;
    const role = member === issuer ? 'issues ' : 'trusted';
    return `  ${role}  ${subject}, until ${validTo}\n           SHA-256 ${fingerprint256}\n`;
  });
  return lines.join('');
}
