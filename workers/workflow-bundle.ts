import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';
import { moduleFile } from './module-file.ts';

/** Folders of all the code of ours that workflows consist of; the import table says so. */
const SOURCE_FOLDERS = ['workflows', 'protocol'];
const ROOT = join(import.meta.dirname, '..');

interface Log {
  warn(fields: object, message: string): void;
}

/** What `WorkerOptions.workflowBundle` takes. */
export interface WorkflowBundle {
  readonly code: string;
}

export interface BundleOptions {
  readonly log: Log;
  /** Where bundles are kept; by default `.tools/cache/workflows` beside `node_modules`. */
  readonly cacheDirectory?: string | undefined;
}

/**
 * The workflows, bundled for Temporal's sandbox. Bundling takes seconds and 150 MB, so the result is
 * kept in a file that is named after all it is made of, sources and installed packages: a stale one
 * is never found. A damaged one is made anew. Where nothing can be kept (packages not installed by
 * npm, a read-only disk) it is bundled at each start, with a warning.
 *
 * @throws Error when the workflows can't be bundled.
 */
export async function workflowBundle({
  log,
  cacheDirectory,
}: BundleOptions): Promise<WorkflowBundle> {
  const installed = await findInstalledPackages();
  if (!installed) {
    log.warn({}, 'workflows // no list of installed packages by npm: bundled at each start');
    return bundle();
  }
  const key = await inputsDigest(installed.list);
  const directory = cacheDirectory ?? join(installed.root, '.tools', 'cache', 'workflows');
  const file = join(directory, `${key}.js`);
  const kept = await readKept(file);
  if (kept !== undefined) return { code: kept };
  const made = await bundle();
  try {
    await keep(file, made.code);
  } catch (error) {
    log.warn({ error: String(error) }, 'workflows // the bundle was not kept: made at each start');
  }
  return made;
}

async function bundle(): Promise<WorkflowBundle> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: moduleFile('../workflows/index', import.meta.url),
    payloadConverterPath: moduleFile('../workflows/payload-converter', import.meta.url),
  });
  return { code };
}

/** npm's own record of what is in `node_modules`, which tells every version, also after an edit of
 * the lock file that nobody has installed yet. */
async function findInstalledPackages(): Promise<{ root: string; list: string } | undefined> {
  for (let root = ROOT; ; root = dirname(root)) {
    const list = await readOrNothing(join(root, 'node_modules', '.package-lock.json'));
    if (list !== undefined) return { root, list };
    if (root === dirname(root)) return undefined;
  }
}

async function inputsDigest(installedPackages: string): Promise<string> {
  const hash = createHash('sha256').update(installedPackages);
  for (const folder of SOURCE_FOLDERS) {
    const paths = await readdir(join(ROOT, folder), { recursive: true });
    for (const path of paths.filter((path) => /\.(ts|js)$/.test(path)).toSorted()) {
      hash.update(`\0${folder}/${path}\0`);
      hash.update(await readFile(join(ROOT, folder, path)));
    }
  }
  return hash.digest('hex').slice(0, 32);
}

/** The first line holds the digest of the rest. */
async function readKept(file: string): Promise<string | undefined> {
  const text = await readOrNothing(file);
  if (text === undefined) return undefined;
  const end = text.indexOf('\n');
  const code = text.slice(end + 1);
  return text.slice(0, end) === header(code) ? code : undefined;
}

/** Written beside and renamed, so that no other start reads half of it. */
async function keep(file: string, code: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const temporary = `${file}.${randomUUID()}.tmp`;
  await writeFile(temporary, `${header(code)}\n${code}`);
  await rename(temporary, file);
}

function header(code: string): string {
  return `// sha256 of what follows: ${createHash('sha256').update(code).digest('hex')}`;
}

async function readOrNothing(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
