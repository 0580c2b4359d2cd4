import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
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

  const path = () => join(directory, 'ca.pem');
  /** As if the file had been written so long ago. */
  const age = async (seconds: number) => {
    const at = Date.now() / 1_000 - seconds;
    await utimes(path(), at, at);
  };
  const week = 604_800;

  it('rotates in three steps, and shows which CA issues and what comes next', async () => {
    const roles = (text: string) => [...text.matchAll(/^ {2}(issues|trusted) +(\S+ \S+ \S+),/gm)];
    const names = (text: string) => roles(text).map(([, , name]) => name);
    const shown = await caCommand(['show'], env);
    assert.match(shown, /, from \S+Z until \S+Z\n[^]*\nNext step: `add`/);
    const [old] = names(shown);
    const added = await caCommand(['add'], env);
    assert.deepEqual(
      roles(added).map(([, role]) => role),
      ['issues', 'trusted'],
    );
    assert.equal(names(added)[0], old);
    assert.match(added, /\nNext step: `issue`, safe from \S+Z /);
    await age(week + 1);
    const issuing = await caCommand(['issue'], env);
    assert.deepEqual(names(issuing), names(added).toReversed());
    assert.match(issuing, /\nNext step: `drop`, safe from \S+Z /);
    await assert.rejects(caCommand(['issue', '--now'], env), /no CA was added/);
    await age(week + 1);
    const dropped = await caCommand(['drop', path()], {});
    assert.deepEqual(names(dropped), names(issuing).slice(0, 1));
    assert.equal(await caCommand(['show'], env), dropped);
    for (const text of [shown, added, issuing, dropped]) assert.ok(!text.includes('PRIVATE'));
  });

  it('refuses a step that would cut nodes off, and says from when it is safe', async () => {
    await caCommand(['add'], env);
    const refuses = async (args: string[], says: RegExp, given = env) => {
      const text = await readFile(path(), 'utf8');
      await assert.rejects(
        caCommand(args, given),
        (error) => error instanceof ConfigError && says.test(error.message),
      );
      assert.equal(await readFile(path(), 'utf8'), text);
    };
    await refuses(['drop'], /the next step is `issue`/);
    for (const step of ['issue', 'drop']) {
      await age(week - 60);
      const { mtimeMs } = await stat(path());
      const [day] = new Date(mtimeMs + week * 1_000).toISOString().split('T');
      const tooEarly = new RegExp(`\`${step}\` is safe from ${day}T`);
      await refuses([step], tooEarly);
      await refuses([step, '--certificate-seconds', String(week)], tooEarly, {
        ...env,
        PLX_CERTIFICATE_SECONDS: '60',
      });
      await age(120);
      await refuses([step], /is too early/);
      const given = { ...env, PLX_CERTIFICATE_SECONDS: '60' };
      if (step === 'issue') await caCommand([step], given);
      else await caCommand([step, '--now'], env);
    }
    await refuses(['show', '--certificate-seconds', '5'], /a whole number from 30/);
    await refuses(['show', '--sometime'], /Usage/);
  });

  it("keeps the file current that an embedded network's nodes have", async () => {
    const data = join(directory, 'data');
    const keys = join(data, 'keys', 'coordinator');
    const edgeCa = join(data, 'keys', 'edge-ca.pem');
    const ca = caSource({ directory: keys });
    const embedded = { PLX_DATA_DIR: data };
    await ca();
    await caCommand(['add'], embedded);
    await assert.rejects(readFile(edgeCa), { code: 'ENOENT' });
    await writeFile(edgeCa, '');
    await caCommand(['show'], embedded);
    assert.equal(await readFile(edgeCa, 'utf8'), '');
    assert.ok((await caCommand(['issue', '--now'], embedded)).includes(edgeCa));
    assert.equal(await readFile(edgeCa, 'utf8'), (await ca()).trusted);
    await caCommand(['drop', join(keys, 'ca.pem'), '--now'], embedded);
    assert.equal(await readFile(edgeCa, 'utf8'), (await ca()).trusted);
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
