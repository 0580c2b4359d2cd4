import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { caSource } from '../../crypto/ca.ts';
import { caCommand } from '../../workers/ca-command.ts';
import { ConfigError } from '../../workers/config.ts';

describe('workers/ca-command', () => {
  let directory: string;
  let env: Record<string, string | undefined>;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'parallelix-ca-'));
    env = { PLX_COORDINATOR_KEYS: directory };
    await caSource({ directory })();
  });
  after(() => rm(directory, { recursive: true }));

  it('rotates in three steps, and shows which CA issues', async () => {
    const roles = (text: string) => [...text.matchAll(/^ {2}(issues|trusted) +(\S+ \S+ \S+),/gm)];
    const names = (text: string) => roles(text).map(([, , name]) => name);
    const shown = await caCommand(['show'], env);
    const [old] = names(shown);
    const added = await caCommand(['add'], env);
    assert.deepEqual(
      roles(added).map(([, role]) => role),
      ['issues', 'trusted'],
    );
    assert.equal(names(added)[0], old);
    const issuing = await caCommand(['issue'], env);
    assert.deepEqual(names(issuing), names(added).toReversed());
    const dropped = await caCommand(['drop', join(directory, 'ca.pem')], {});
    assert.deepEqual(names(dropped), names(issuing).slice(0, 1));
    assert.equal(await caCommand(['show'], env), dropped);
    for (const text of [shown, added, issuing, dropped]) assert.ok(!text.includes('PRIVATE'));
  });

  it('says what to do instead, and changes nothing', async () => {
    const text = await readFile(join(directory, 'ca.pem'), 'utf8');
    const refused = [
      { args: [], env, says: /Usage/ },
      { args: ['remove'], env, says: /Usage/ },
      { args: ['toString'], env, says: /Usage/ },
      { args: ['add', 'a', 'b'], env, says: /Usage/ },
      { args: ['issue'], env, says: /no CA was added/ },
      { args: ['drop'], env, says: /no other CA is left/ },
      { args: ['add', join(directory, 'absent.pem')], env, says: /there is no file/ },
      { args: ['add'], env: { PLX_CA: text }, says: /write it to a file/ },
    ];
    for (const { args, env: given, says } of refused)
      await assert.rejects(
        caCommand(args, given),
        (error) => error instanceof ConfigError && says.test(error.message),
        args.join(' '),
      );
    assert.equal(await readFile(join(directory, 'ca.pem'), 'utf8'), text);
  });
});
