import http from 'node:http';
import https from 'node:https';
import { LIMITS } from './limits.mjs';
import { proxyFor, throughProxy } from './proxy.mjs';
import { SourceError } from './sources.mjs';

const REDIRECTS_MAX = 10;
const REDIRECT_STATUSES = [301, 302, 303, 307, 308];

/** No answer at all: `message` says of which host, and why. */
export class UnreachableError extends Error {}

/**
 * Asks for a URL and follows redirects. Not `fetch`: that knows no proxies in Node 20, nor a limit
 * for connecting that is apart from one for the body.
 *
 * @param {URL} url
 * @param {{ env: NodeJS.ProcessEnv, headers?: Record<string, string> }} options
 * @returns {Promise<http.IncomingMessage>} its body must be read or destroyed.
 * @throws {UnreachableError}
 * @throws {SourceError} if the proxy that is set can't be used, or the address is none of the web.
 */
export async function httpGet(url, { env, headers = {} }) {
  if (!isWeb(url)) throw new SourceError(`${url} is no http:// or https:// address.`);
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), LIMITS.answerSeconds * 1_000);
  let target = url;
  let proxy;
  try {
    for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
      proxy = proxyFor(target, env);
      const response = await send(target, proxy?.url, { headers, signal: giveUp.signal });
      const { location } = response.headers;
      if (!REDIRECT_STATUSES.includes(response.statusCode) || !location) return response;
      response.destroy();
      target = redirected(location, target);
    }
  } catch (error) {
    const isExplained = error instanceof UnreachableError || error instanceof SourceError;
    if (isExplained || error instanceof TypeError) throw error;
    const reason = giveUp.signal.aborted
      ? `no answer within ${LIMITS.answerSeconds} s`
      : error.message || error.code;
    throw unreachable(target, proxy, reason, error);
  } finally {
    clearTimeout(timer);
  }
  throw new UnreachableError(`${url.host} redirects more than ${REDIRECTS_MAX} times`);
}

async function send(url, proxy, options) {
  const direct = { module: url.protocol === 'https:' ? https : http, url };
  const way = proxy
    ? await throughProxy(proxy, url, options)
    : { ...direct, options: { ...options, agent: false } };
  return new Promise((resolve, reject) => {
    const request = way.module.get(way.url, way.options, resolve);
    // Also for what comes after the answer: the body reports that itself.
    request.on('error', reject);
  });
}

function isWeb({ protocol }) {
  return protocol === 'https:' || protocol === 'http:';
}

function redirected(location, from) {
  const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
  if (to && isWeb(to)) return to;
  throw new UnreachableError(`${from.host} redirects to ${location}, which is no web address`);
}

function unreachable({ host }, proxy, reason, cause) {
  const way = proxy ? ` through the proxy ${proxy.url.host} (${proxy.variable})` : '';
  return new UnreachableError(`${host} can't be reached${way}: ${reason}`, { cause });
}
