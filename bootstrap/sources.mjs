import { BootstrapError } from './report.mjs';

/** Why a source can't serve: `message` is a sentence or two. The next source is tried. */
export class SourceError extends Error {}

/**
 * Fetches something from the first source that can serve.
 *
 * @param {{ name: string, fetch: () => Promise<void> }[]} sources in order.
 * @param {{ tried: string[], report: import('./ensure.mjs').Context['report'],
 *   failed: (tried: string[], cause: unknown) => BootstrapError }} options
 *   `tried` is what was looked at before, a sentence each; `failed` makes the error for a person.
 * @throws {BootstrapError} listing everything tried, when no source could serve.
 */
export async function fetchFromFirst(sources, { tried, report, failed }) {
  const reasons = [...tried];
  let cause;
  for (const [index, { name, fetch }] of sources.entries()) {
    try {
      await fetch();
      return;
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      cause = error;
      reasons.push(`${name}: ${error.message}`);
      const next = sources[index + 1];
      if (next) report.note(`${name}: ${error.message.split('\n')[0]} Next: ${next.name}`);
    }
  }
  throw failed(reasons, cause);
}

/**
 * @param {string} what such as `No model`.
 * @param {string[]} tried a sentence each, in order.
 * @param {string} advice what a person can do.
 * @param {unknown} [cause]
 */
export function nothingFound(what, tried, advice, cause) {
  const list = tried.map((line, index) => `  ${index + 1}. ${line}`).join('\n');
  return new BootstrapError(`${what} could be found. Tried, in this order:\n${list}\n${advice}`, {
    cause,
  });
}
