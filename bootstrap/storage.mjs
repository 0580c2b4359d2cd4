import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BootstrapError } from './report.mjs';

/** By error code, what programs print instead of it. */
const WORDS = {
  ENOSPC: /ENOSPC|No space left on device/i,
  EDQUOT: /EDQUOT|Disk quota exceeded/i,
  EROFS: /EROFS|Read-only file system/i,
  EACCES: /EACCES|EPERM|Permission denied/i,
};
const FULL = ['ENOSPC', 'EDQUOT'];
const NOT_WRITABLE = ['EROFS', 'EACCES', 'EPERM'];

/**
 * @typedef {object} Needs what a step puts on the disk.
 * @property {string} what such as `the model`.
 * @property {string} folder where, absolute.
 * @property {number} megabytes at its peak, roughly.
 * @property {string} [otherwise] a way without that space, such as `set MODEL_PATH`.
 */

/** Whether the disk, not the network or a program, is what failed. */
export function isStorageError({ code, syscall }) {
  // A firewall can refuse a connection with these codes, too.
  return syscall !== 'connect' && [...FULL, ...NOT_WRITABLE].includes(code);
}

/** The code of a storage error that a program like npm or pip printed, or nothing. */
export function storageCodeIn(output) {
  return Object.keys(WORDS).find((code) => WORDS[code].test(output));
}

/**
 * @param {NodeJS.ErrnoException} error for which `isStorageError` holds.
 * @param {Needs} needs
 * @returns {Promise<BootstrapError>}
 */
export async function storageError(error, needs) {
  const folder = error.path === undefined ? needs.folder : dirname(error.path);
  return new BootstrapError(await storageAdvice(error.code, folder, needs), { cause: error });
}

/** @returns {Promise<string>} what is wrong with `folder`, what is needed, and the way out. */
export async function storageAdvice(code, folder, { what, megabytes, otherwise }) {
  const or = otherwise === undefined ? '' : `, or ${otherwise}`;
  if (FULL.includes(code))
    return (
      `The disk is full (${code}): about ${megabytes} MB for ${what} are needed in ${folder}` +
      `${await freeSpace(folder)}.\nFree some space, or move the project to a disk that has it, ` +
      `then run the same again${or}.`
    );
  return (
    `${folder} can't be written to (${code}), but ${what} must be put there.\nMake it writable ` +
    'for this account, or move the project into a folder that is, then run the same again' +
    `${or}.`
  );
}

async function freeSpace(folder) {
  try {
    const { bavail, bsize } = await statfs(folder);
    return `, where ${Math.floor((bavail * bsize) / 1e6)} MB are free`;
  } catch {
    // The folder may not exist yet: the message is complete without this.
    return '';
  }
}
