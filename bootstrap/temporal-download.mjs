import { chmod, lstat, rename, rm, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { download, downloadJson } from './download.mjs';
import { sha256File } from './files.mjs';
import { SourceError } from './sources.mjs';

const DEFAULT_BASE = 'https://temporal.download';
const PLATFORMS = { linux: 'linux', darwin: 'darwin', win32: 'windows' };
const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' };

/** Where the SDKs' "cached download" asks, or a mirror of it. */
export function temporalDownloadBase(env) {
  return (env.PLX_TEMPORAL_DOWNLOAD_URL || DEFAULT_BASE).replace(/\/+$/, '');
}

/**
 * Fetches the Temporal CLI as Temporal's SDKs do (sdk-core, `ephemeral_server`): the service says
 * which archive fits this platform and which file of it to take.
 *
 * @param {import('./ensure.mjs').Context} context
 * @param {{ version: string, downloadMegabytes: number, archiveSha256?: string, sha256?: string }}
 *   pin of this platform; no `archiveSha256` where there is no build, no `sha256` where only the
 *   archive's digest is known.
 * @param {string} target where the program goes.
 * @param {(text: string) => unknown} progress
 * @throws {SourceError}
 */
export async function fetchFromTemporal({ env }, pin, target, progress) {
  const { version, archiveSha256, downloadMegabytes: megabytes } = pin;
  if (archiveSha256 === undefined)
    throw new SourceError(`no build for ${process.platform}-${process.arch} is pinned.`);
  const { archiveUrl, fileToExtract } = await archiveInfo(version, env, progress);
  const archive = `${target}.tar.gz`;
  await download({
    url: archiveUrl,
    target: archive,
    sha256: archiveSha256,
    megabytes,
    env,
    progress,
  });
  const unpacked = `${target}.unpacked`;
  await rm(unpacked, { recursive: true, force: true });
  await mkdir(unpacked);
  try {
    const file = await extract(archive, fileToExtract, unpacked);
    await check(file, fileToExtract, pin.sha256);
    await chmod(file, 0o755);
    await rename(file, target);
  } finally {
    await rm(unpacked, { recursive: true, force: true });
    await rm(archive, { force: true });
  }
}

async function archiveInfo(version, env, progress) {
  const base = `${temporalDownloadBase(env)}/cli/v${version}`;
  const url = webUrl(base);
  if (!url) throw new SourceError(`PLX_TEMPORAL_DOWNLOAD_URL is no web address: ${base}.`);
  url.searchParams.set('arch', ARCHITECTURES[process.arch]);
  url.searchParams.set('platform', PLATFORMS[process.platform]);
  // For Windows too: the SDKs' archives are of this kind everywhere.
  url.searchParams.set('format', 'tar.gz');
  const info = await downloadJson(url, { env, progress });
  const { archiveUrl, fileToExtract } = info ?? {};
  const archive = webUrl(archiveUrl, url);
  const isFit = archive && /^[\w.-]+(\/[\w.-]+)*$/.test(fileToExtract ?? '');
  if (!isFit || fileToExtract.split('/').includes('..'))
    throw new SourceError(`${url} names no archive and file: ${JSON.stringify(info)}.`);
  return { archiveUrl: archive, fileToExtract };
}

/** @returns {URL | undefined} nothing for what can't be asked for by HTTP. */
function webUrl(text, base) {
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined;
  return url && ['https:', 'http:'].includes(url.protocol) ? url : undefined;
}

/**
 * @param {string} archive
 * @param {string} member
 * @param {string} folder
 */
async function extract(archive, member, folder) {
  // An npm package, so that it can be loaded only now that the dependencies are installed.
  const tar = await import('tar');
  await tar.extract({ file: archive, cwd: folder, strict: true, preserveOwner: false }, [member]);
  const path = join(folder, ...member.split('/'));
  const isFile = await lstat(path).then(
    (found) => found.isFile(),
    () => false,
  );
  if (!isFile) throw new SourceError(`the archive holds no file ${member}.`);
  return path;
}

async function check(path, member, sha256) {
  if (sha256 === undefined) return;
  const found = await sha256File(path);
  if (found !== sha256)
    throw new SourceError(
      `${member} in the archive has SHA-256 ${found} instead of the pinned ${sha256}: it is ` +
        'another build, and was not used.',
    );
}
