import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ConfigError } from './config.ts';

/**
 * The certificates that an edge is known by, as PEM: what a file at `PLX_EDGE_CA` holds.
 *
 * @throws ConfigError that names the variable, the file, and what is wrong with it.
 */
export async function readEdgeCa(path: string): Promise<string> {
  const pem = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError(`PLX_EDGE_CA: ${path} can't be read (${error.code}).`);
  });
  if (!hasCertificate(pem))
    throw new ConfigError(`PLX_EDGE_CA: ${path} has no certificate in PEM in it.`);
  return pem;
}

function hasCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
