import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Project, type Outcome } from './project.ts';

describe('bootstrap: build', () => {
  let project: Project;
  beforeEach(async () => {
    project = await Project.create();
    const followParent = new URL('../../workers/embedded/follow-parent.mjs', import.meta.url);
    await cp(fileURLToPath(followParent), project.path('workers/embedded/follow-parent.mjs'));
    await project.addCompiler();
    await project.write('protocol/sum.ts', 'export const sum = (a: number, b: number) => a + b;');
    await project.write(
      'workers/main.ts',
      `import { sum } from '../protocol/sum.ts'; console.log(sum(40, 2) as number);`,
    );
    await project.write('test/a.test.ts', 'export const a: number = 1;');
  });
  afterEach(() => project.remove());

  function directoryOf({ code, output }: Outcome): string {
    assert.equal(code, 0, output);
    const last = JSON.parse(output.trim().split('\n').at(-1) ?? '') as { buildDirectory: string };
    return last.buildDirectory;
  }
  const result = async (directory: string) =>
    (await promisify(execFile)(process.execPath, [`${directory}/workers/main.js`])).stdout;

  it('makes JavaScript that runs, with what lies beside it, and without tests', async () => {
    const directory = directoryOf(await project.ensureBuild());
    assert.equal(await result(directory), '42\n');
    assert.deepEqual((await readdir(directory)).toSorted(), ['prisma', 'protocol', 'workers']);
    const sql = `${directory}/prisma/migrations/0001_init/migration.sql`;
    assert.equal(await readFile(sql, 'utf8'), 'SELECT 1');
    assert.ok((await readdir(`${directory}/workers/embedded`)).includes('follow-parent.mjs'));
  });

  it('is made once, and anew after any change', async () => {
    const first = directoryOf(await project.ensureBuild());
    const again = await project.ensureBuild();
    assert.equal(directoryOf(again), first);
    assert.doesNotMatch(again.output, /Compiling/);
    await project.write('protocol/sum.ts', 'export const sum = (a: number, b: number) => a - b;');
    const second = directoryOf(await project.ensureBuild());
    assert.equal(await result(second), '38\n');
    // A network that still runs from the first can start its roles again.
    assert.equal(await result(first), '42\n');
    await project.write('prisma/migrations/0001_init/migration.sql', 'SELECT 2');
    const third = directoryOf(await project.ensureBuild());
    const sql = `${third}/prisma/migrations/0001_init/migration.sql`;
    assert.equal(await readFile(sql, 'utf8'), 'SELECT 2');
  });

  it('shows what the compiler says, leaves nothing, and recovers', async () => {
    await project.write('protocol/sum.ts', 'export const sum = (;');
    const { code, output } = await project.ensureBuild();
    assert.equal(code, 1);
    assert.match(output, /could not be compiled.*protocol\/sum\.ts.*Correct what it names/s);
    await project.write('protocol/sum.ts', 'export const sum = () => 1;');
    assert.equal(await result(directoryOf(await project.ensureBuild())), '1\n');
  });

  it('keeps the five that were used last', async () => {
    const used = directoryOf(await project.ensureBuild());
    const builds = project.path('.tools/build');
    for (let n = 0; n < 6; n++) {
      await project.write(`.tools/build/older-${n}/a.js`, '');
      await utimes(`${builds}/older-${n}`, n, n);
    }
    await utimes(used, 0, 0);
    // Its use makes it the newest but one.
    assert.equal(directoryOf(await project.ensureBuild()), used);
    await project.write('protocol/more.ts', 'export {};');
    const made = directoryOf(await project.ensureBuild());
    assert.deepEqual(
      (await readdir(builds)).map((name) => `${builds}/${name}`).toSorted(),
      [used, made, ...['3', '4', '5'].map((n) => `${builds}/older-${n}`)].toSorted(),
    );
    await rm(used, { recursive: true });
  });
});
