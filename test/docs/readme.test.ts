import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { snippets } from '../../workers/embedded/show.ts';
import type { Network } from '../../workers/embedded/network.ts';
import { pythonOf } from '../support/python.ts';
import { startTestNetwork } from '../support/test-network.ts';

const ROOT = join(import.meta.dirname, '../..');
const URL_SHOWN = 'http://127.0.0.1:8420';
const KEY_SHOWN = '$(cat .data/keys/demo-api-key)';

const text: string = await readFile(join(ROOT, 'README.md'), 'utf8');
const [, section = ''] = /^## Use it from your app\n(.*?)^## /ms.exec(text) ?? [];
const blocks = [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({
  language,
  code: code ?? '',
}));

/** The one block that is in a language, and begins so. */
function block(language: string, begin: string): string {
  const found = blocks.filter((each) => each.language === language && each.code.startsWith(begin));
  assert.equal(found.length, 1, `${language}: ${begin}`);
  return found[0]?.code ?? '';
}

const settings = block('sh', 'export ');
const curl = block('sh', 'curl ');
const typescript = block('ts', 'import ');
const python = block('python', 'from ');

interface RequestResult {
  readonly choices: readonly { readonly message: { readonly content: string } }[];
  readonly usage: { readonly completion_tokens: number };
}

describe('README.md: use it from your app', function () {
  this.timeout(120_000);
  let directory: string;
  let network: Network;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-readme-'));
    network = await startTestNetwork(join(directory, '.data'));
    // What `npm install openai` puts there.
    await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  });
  after(async () => {
    await network.stop();
    await rm(directory, { recursive: true, force: true });
  });

  /** Runs what a reader pastes into a shell, where this network's port is another one. */
  async function paste(command: string): Promise<string> {
    const script = `${settings.replace(URL_SHOWN, network.gatewayUrl)}\n${command}`;
    const { PATH = '', HOME = '' } = process.env;
    const options = { cwd: directory, env: { PATH, HOME } };
    const { stdout } = await promisify(execFile)('sh', ['-ec', script], options);
    return stdout;
  }

  async function asked<Answer>(path: string): Promise<Answer> {
    const response = await fetch(`${network.gatewayUrl}/v1/requests${path}`, {
      headers: { authorization: `Bearer ${network.apiKey}` },
    });
    return (await response.json()) as Answer;
  }

  /** It makes one request, and prints what is kept as its result, to the letter. */
  async function printsItsAnswer(command: string): Promise<void> {
    const ids = async () =>
      (await asked<{ data: { id: string }[] }>('?limit=100')).data.map(({ id }) => id);
    const before = await ids();
    const printed = await paste(command);
    const [id, ...others] = (await ids()).filter((each) => !before.includes(each));
    assert.deepEqual(others, []);
    const { result } = await asked<{ result: RequestResult | null }>(`/${id}`);
    assert.ok((result?.usage.completion_tokens ?? 0) > 0);
    assert.equal(printed, result?.choices[0]?.message.content);
    assert.match(printed, /\w{2}/);
  }

  it('runs what it has for curl', async () => {
    const answer = await paste(curl);
    assert.match(answer, /^data: \{.*"object":"chat\.completion\.chunk"/m);
    assert.match(answer, /^data: \[DONE\]$/m);
    assert.match(answer, /"content":"\S/);
  });

  it('runs what it has for TypeScript', async () => {
    await writeFile(join(directory, 'app.mts'), typescript);
    await printsItsAnswer(`'${process.execPath}' --import tsx/esm app.mts`);
  });

  it('runs what it has for Python', async () => {
    await writeFile(join(directory, 'app.py'), python);
    await printsItsAnswer(`'${pythonOf('PLX_SDK_PYTHON')}' app.py`);
  });

  it('has what `npm start` prints, which has its own URL and key', () => {
    const printed = snippets(network);
    const own = settings.replace(URL_SHOWN, network.gatewayUrl).replace(KEY_SHOWN, network.apiKey);
    for (const code of [own, curl, typescript, python]) assert.ok(printed.includes(code), code);
    assert.ok(!printed.includes(URL_SHOWN) || network.gatewayUrl === URL_SHOWN);
  });
});
