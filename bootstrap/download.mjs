import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { readOrNothing, sha256File, statOrNothing, writeAtomically } from './files.mjs';
import { UnreachableError, httpGet } from './http-get.mjs';
import { LIMITS } from './limits.mjs';
import { SourceError } from './sources.mjs';
import { isStorageError } from './storage.mjs';

const MEGABYTE = 1_000_000;
const PASSING_STATUSES = [408, 425, 429];
const JSON_MAX_CHARACTERS = 65_536;

/** What may pass: a lost connection, a stall, a server in trouble. The same is asked again. */
class PassingError extends Error {
  gainedBytes = 0;
}

/**
 * Downloads a pinned file. It arrives in `<target>.partial`, which a later call goes on with (the
 * server's ETag is beside it). Only the whole file, once its digest is right, becomes `target`.
 *
 * @param {object} file
 * @param {URL} file.url
 * @param {string} file.target
 * @param {string} file.sha256 in hex.
 * @param {number} file.megabytes about how large it is; twice as much is refused.
 * @param {NodeJS.ProcessEnv} file.env for proxies.
 * @param {(text: string) => unknown} [file.progress] told such as `23 of 45 MB`.
 * @throws {SourceError} if it can't be had from there; what has arrived is kept unless it is wrong.
 */
export async function download({ url, target, sha256, megabytes, env, progress = () => {} }) {
  const file = { url, partial: `${target}.partial`, sha256, megabytes, env, progress };
  await mkdir(dirname(target), { recursive: true });
  if ((await statOrNothing(target)) && (await sha256File(target)) === sha256) return;
  if (await hasRemains(file)) {
    if ((await sha256File(file.partial)) !== sha256) {
      await retrying(file, () => fetchRest(file));
      // Its parts may come from different files: only a fresh whole one shows what the server has.
      if ((await sha256File(file.partial)) !== sha256) await fetchFresh(file);
    }
  } else await fetchFresh(file);
  await rename(file.partial, target);
  await removePartial(target);
}

/** Removes what an unfinished download of `target` left. */
export async function removePartial(target) {
  for (const path of [`${target}.partial`, `${target}.partial.json`])
    await rm(path, { force: true });
}

/**
 * @param {URL} url
 * @param {{ env: NodeJS.ProcessEnv, progress?: (text: string) => unknown }} options
 * @returns {Promise<unknown>} the JSON there.
 * @throws {SourceError}
 */
export function downloadJson(url, { env, progress = () => {} }) {
  const file = { url, env, progress };
  return retrying(file, async () => {
    const response = await ask(file, {});
    let text = '';
    const collect = (part) => {
      text += part;
      if (text.length > JSON_MAX_CHARACTERS)
        throw new SourceError(`${url} answered no short JSON.`);
    };
    await receive(file, response.setEncoding('utf8'), collect);
    try {
      return JSON.parse(text);
    } catch {
      throw new SourceError(`${url} answered no JSON.`);
    }
  });
}

async function hasRemains({ partial, sha256 }) {
  const known = await recall(partial);
  return known.sha256 === sha256 && (await statOrNothing(partial))?.size > 0;
}

async function fetchFresh(file) {
  const { url, partial, sha256 } = file;
  await rm(partial, { force: true });
  await retrying(file, () => fetchRest(file));
  const found = await sha256File(partial);
  if (found === sha256) return;
  await rm(partial);
  await rm(`${partial}.json`);
  throw new SourceError(
    `${url} has SHA-256 ${found} instead of the pinned ${sha256}: it was damaged on the way or ` +
      'is not what it claims to be, and was deleted.',
  );
}

/** One request: appends what is missing, or starts again where that can't be had. */
async function fetchRest(file) {
  const { url, partial, megabytes, progress } = file;
  const { etag } = await recall(partial);
  const have = (await statOrNothing(partial))?.size ?? 0;
  const headers = have === 0 ? {} : { range: `bytes=${have}-`, ...(etag && { 'if-range': etag }) };
  const response = await ask(file, headers);
  const { statusCode } = response;
  if (statusCode === 416 || (statusCode === 206 && !continues(response.headers, have, etag))) {
    response.destroy();
    await rm(partial, { force: true });
    throw new PassingError(`${url.host} can't go on with the part that is here`);
  }
  const start = statusCode === 206 ? have : 0;
  const length = response.headers['content-length'];
  const totalBytes = length === undefined ? undefined : start + Number(length);
  await remember(file, response.headers.etag);
  const sink = createWriteStream(partial, { flags: start === 0 ? 'w' : 'a', flush: true });
  let bytes = start;
  const count = (part) => {
    bytes += part.length;
    if (bytes > 2 * megabytes * MEGABYTE)
      throw new SourceError(`${url} is more than twice as large as the pinned file.`);
    progress(`${inMegabytes(bytes)} of ${inMegabytes(totalBytes ?? megabytes * MEGABYTE)} MB`);
  };
  try {
    await receive(file, response, count, sink);
  } catch (error) {
    if (error instanceof PassingError) error.gainedBytes = bytes - start;
    throw error;
  }
}

/** Before the first byte, so that no part is ever taken for one of another file. */
function remember({ partial, sha256 }, etag = '') {
  // A weak one (W/) doesn't vouch for single bytes; without any, the digest alone decides.
  const strong = etag.startsWith('"') ? { etag } : {};
  return writeAtomically(`${partial}.json`, JSON.stringify({ sha256, ...strong }));
}

async function recall(partial) {
  try {
    return JSON.parse((await readOrNothing(`${partial}.json`)) ?? '{}');
  } catch (error) {
    // A machine that lost its power can leave such a file: then nothing is known.
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** Whether a partial answer begins where the part that is here ends, and is of the same file. */
function continues(headers, have, etag) {
  const range = headers['content-range'] ?? '';
  return range.startsWith(`bytes ${have}-`) && (etag === undefined || headers.etag === etag);
}

/** @returns a response with a body to read: 200 or, if a range was asked for, 206 or 416. */
async function ask(file, headers) {
  const { url, env } = file;
  let response;
  try {
    response = await httpGet(url, { env, headers: { ...headers, 'accept-encoding': 'identity' } });
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    // One that has never answered is left at once, for the next source; a line that drops is not.
    if (file.hasBegun) throw new PassingError(error.message);
    throw new SourceError(`${error.message}.`, { cause: error });
  }
  file.hasBegun = true;
  const { statusCode, statusMessage } = response;
  if (statusCode === 200 || (headers.range && [206, 416].includes(statusCode))) return response;
  response.destroy();
  const message = `${url} answered ${statusCode} ${statusMessage}`;
  if (statusCode >= 500 || PASSING_STATUSES.includes(statusCode)) throw new PassingError(message);
  throw new SourceError(`${message}.`);
}

/** Reads a body, into `sink` if given; a connection lost or silent is a PassingError. */
async function receive({ url: { host } }, response, onPart, sink = drain) {
  const stalled = new Error(`no byte for ${LIMITS.stallSeconds} s`);
  const timer = setTimeout(() => response.destroy(stalled), LIMITS.stallSeconds * 1_000);
  const watch = async function* (parts) {
    for await (const part of parts) {
      timer.refresh();
      onPart(part);
      yield part;
    }
  };
  try {
    await pipeline(response, watch, sink);
  } catch (error) {
    if (error instanceof SourceError || isStorageError(error)) throw error;
    throw new PassingError(`the connection to ${host} was lost (${error.message})`);
  } finally {
    clearTimeout(timer);
  }
}

async function drain(parts) {
  for await (const _ of parts);
}

async function retrying({ progress }, attempt) {
  for (let failures = 0; ;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof PassingError)) throw error;
      failures = error.gainedBytes >= MEGABYTE ? 1 : failures + 1;
      if (failures >= LIMITS.attempts)
        throw new SourceError(`${error.message}; given up after ${failures} attempts.`, {
          cause: error,
        });
      progress(`${error.message}: asking again`);
      await sleep(LIMITS.backoffSeconds * 1_000 * 2 ** (failures - 1));
    }
  }
}

function inMegabytes(bytes) {
  return (bytes / MEGABYTE).toFixed(bytes < 10 * MEGABYTE ? 1 : 0);
}
