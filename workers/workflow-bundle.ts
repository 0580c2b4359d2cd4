import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { writeDurably } from './embedded/files.ts';
import { moduleFile } from './module-file.ts';

/** Folders of all the code of ours that workflows consist of; the import table says so. */
const SOURCE_FOLDERS = ['workflows', 'protocol'];
const ROOT = join(import.meta.dirname, '..');
/** Bundles of earlier sources; each has 2 MB. */
const BUNDLES_KEPT = 5;

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
 * The workflows, bundled for Temporal's sandbox. Bundling takes seconds, so the result is kept in a
 * file that is named after all it is made of, sources and installed packages: a stale one is never
 * found. A damaged one is made anew. Where nothing can be kept (packages not installed by npm, a
 * read-only disk) it is bundled at each start, with a warning.
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
    return bundle(log);
  }
  const key = await bundleKey(ROOT, installed.list);
  const directory = cacheDirectory ?? join(installed.root, '.tools', 'cache', 'workflows');
  const file = join(directory, `${key}.js`);
  const kept = await readKept(file);
  if (kept !== undefined) return { code: kept };
  const made = await bundle(log);
  try {
    await keep(file, made.code);
  } catch (error) {
    log.warn({ error: String(error) }, 'workflows // the bundle was not kept: made at each start');
  }
  return made;
}

async function bundle(log: Log): Promise<WorkflowBundle> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: moduleFile('../workflows/index', import.meta.url),
    payloadConverterPath: moduleFile('../workflows/payload-converter', import.meta.url),
    logger: new DefaultLogger('WARN', (entry) => log.warn(entry, 'temporal sdk')),
  });
  return { code };
}

/** npm's own record of what is in `node_modules`, which tells every version, also after an edit of
 * the lock file that nobody has installed yet. */
async function findInstalledPackages(): Promise<{ root: string; list: string } | undefined> {
  for (let root = ROOT; ; root = dirname(root)) {
    const list = await readIfPossible(join(root, 'node_modules', '.package-lock.json'));
    if (list !== undefined) return { root, list };
    if (root === dirname(root)) return undefined;
  }
}

/**
 * A name for all that a bundle is made of.
 *
 * @param root of the sources.
 * @param installedPackages the text that `findInstalledPackages` found.
 */
export async function bundleKey(root: string, installedPackages: string): Promise<string> {
  const hash = createHash('sha256').update(installedPackages);
  for (const folder of SOURCE_FOLDERS) {
    const paths = await readdir(join(root, folder), { recursive: true });
    for (const path of paths.filter((path) => /\.(ts|js)$/.test(path)).toSorted()) {
      hash.update(`\0${folder}/${path}\0`);
      hash.update(await readFile(join(root, folder, path)));
    }
  }
  return hash.digest('hex').slice(0, 32);
}

/** The first line holds the digest of the rest. */
async function readKept(file: string): Promise<string | undefined> {
  const text = await readIfPossible(file);
  if (text === undefined) return undefined;
  const end = text.indexOf('\n');
  const code = text.slice(end + 1);
  return text.slice(0, end) === header(code) ? code : undefined;
}

async function keep(file: string, code: string): Promise<void> {
  await writeDurably(file, `${header(code)}\n${code}`);
  await removeOld(dirname(file));
}

async function removeOld(directory: string): Promise<void> {
  const names = await readdir(directory);
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      // Another start may be renaming it just now.
      const madeMs = await stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => Date.now(),
      );
      return { path, madeMs };
    }),
  );
  for (const { path } of files.toSorted((a, b) => b.madeMs - a.madeMs).slice(BUNDLES_KEPT))
    await rm(path, { force: true });
}

function header(code: string): string {
  return `// sha256 of what follows: ${createHash('sha256').update(code).digest('hex')}`;
}

/** What can't be read is as good as not there: then it is made. */
function readIfPossible(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch(() => undefined);
}
