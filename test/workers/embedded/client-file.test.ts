import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findConnection } from '../../../cli/connection.ts';
import { CliError } from '../../../cli/errors.ts';
import { leaveClientFile } from '../../../workers/embedded/client-file.ts';

const URL = 'http://127.0.0.1:1234';

const FILE = {
  gatewayUrl: URL,
  apiKey: 'plx-file',
  adminKey: 'plx-admin',
  edgeAddress: '127.0.0.1:1',
  edgeCa: '/nowhere',
};

describe('workers/embedded/client-file', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-client-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const find = (options: object = {}, env: NodeJS.ProcessEnv = {}) =>
    findConnection(options, { PLX_DATA_DIR: directory, ...env });
  const failure = (code: string, exitCode: number) => (error: unknown) => {
    assert.ok(error instanceof CliError);
    assert.deepEqual([error.code, error.exitCode], [code, exitCode]);
    return true;
  };

  it('is how the command line finds the network, for its owner only, until it stops', async () => {
    const file = join(directory, 'client.json');
    await writeFile(file, 'left by a killed network');
    await chmod(file, 0o644);
    const remove = await leaveClientFile(directory, {
      ...FILE,
      apiKey: 'plx-key',
    });
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await find(), { url: URL, key: 'plx-key' });
    await remove();
    assert.deepEqual(await readdir(directory), []);
    await assert.rejects(find(), failure('cli.no_api_key', 3));
  });

  it('gives way to the environment, and that to the options', async () => {
    await leaveClientFile(directory, FILE);
    const env = { PLX_GATEWAY_URL: 'https://env.example/v1/', PLX_API_KEY: 'plx-env' };
    assert.deepEqual(await find({}, env), { url: 'https://env.example', key: 'plx-env' });
    const options = { url: 'http://option.example/', key: 'plx-option' };
    assert.deepEqual(await find(options, env), { url: 'http://option.example', key: 'plx-option' });
    assert.deepEqual(await find({ key: 'plx-option' }), { url: URL, key: 'plx-option' });
  });

  it('never gives its key to another gateway', async () => {
    await leaveClientFile(directory, FILE);
    await assert.rejects(find({ url: 'https://elsewhere.example' }), failure('cli.no_api_key', 3));
    assert.deepEqual(await find({ url: `${URL}/` }), { url: URL, key: 'plx-file' });
  });

  it('has an admin key besides, for what needs one', async () => {
    const env = { PLX_DATA_DIR: directory };
    await leaveClientFile(directory, FILE);
    for (const kind of ['admin', 'any'] as const)
      assert.deepEqual(await findConnection({}, env, kind), { url: URL, key: 'plx-admin' });
    const given = { ...env, PLX_ADMIN_KEY: 'plx-env-admin', PLX_API_KEY: 'plx-env' };
    assert.equal((await findConnection({}, given, 'admin')).key, 'plx-env-admin');
    assert.equal((await findConnection({}, given, 'account')).key, 'plx-env');
    assert.equal((await findConnection({ key: 'plx-option' }, given, 'admin')).key, 'plx-option');
    // An account's key is no admin's, but will do for what shows less to an account.
    const account = { ...env, PLX_API_KEY: 'plx-env' };
    assert.equal((await findConnection({}, account, 'admin')).key, 'plx-admin');
    assert.equal((await findConnection({}, account, 'any')).key, 'plx-env');
    const elsewhere = { url: 'https://elsewhere.example' };
    await assert.rejects(
      findConnection(elsewhere, account, 'admin'),
      failure('cli.no_admin_key', 3),
    );
  });

  it('is named when it can not be read, and a URL when it is none', async () => {
    await writeFile(join(directory, 'client.json'), '{"gatewayUrl":');
    await assert.rejects(find(), failure('cli.client_file_unreadable', 3));
    await assert.rejects(find({ url: 'localhost:8420', key: 'k' }), failure('cli.usage', 2));
  });
});
