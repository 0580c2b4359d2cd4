import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { selfSignedCa } from '../../crypto/certificates.ts';
import { ConfigError } from '../../workers/config.ts';
import { readEdgeCa } from '../../workers/edge-ca.ts';
import { signingPrivateKey, signingPublicKey } from '../crypto/fixtures.ts';

describe('workers/edge-ca', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-edge-ca-'));
  });
  after(() => rm(directory, { recursive: true }));

  it('reads the certificates of a file', async () => {
    const pair = { publicKey: signingPublicKey, privateKey: signingPrivateKey };
    const pem = await selfSignedCa(pair, 'CA of a test');
    const path: string = join(directory, 'ca.pem');
    await writeFile(path, pem);
    assert.equal(await readEdgeCa(path), pem);
  });

  it('names the variable and the file that is absent, or has no certificate', async () => {
    const empty = join(directory, 'empty.pem');
    await writeFile(empty, 'nothing');
    for (const [path, problem] of [
      [join(directory, 'absent.pem'), "can't be read (ENOENT)"],
      [empty, 'has no certificate in PEM'],
    ] as const)
      await assert.rejects(readEdgeCa(path), (error: unknown) => {
        assert.ok(error instanceof ConfigError);
        assert.ok(error.message.startsWith(`PLX_EDGE_CA: ${path} ${problem}`), error.message);
        return true;
      });
  });
});
