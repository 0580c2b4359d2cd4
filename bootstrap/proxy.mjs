import http from 'node:http';
import https from 'node:https';
import { isIP } from 'node:net';
import tls from 'node:tls';
import { SourceError } from './sources.mjs';

/**
 * The proxy that the usual variables name for a URL: `HTTPS_PROXY` or `HTTP_PROXY`, or else
 * `ALL_PROXY`, in capitals or not, unless `NO_PROXY` excepts the host.
 *
 * @param {URL} url
 * @param {NodeJS.ProcessEnv} env
 * @returns {{ url: URL, variable: string } | undefined}
 * @throws {SourceError} if it isn't an HTTP proxy.
 */
export function proxyFor(url, env) {
  const scheme = url.protocol.slice(0, -1);
  const names = [`${scheme}_proxy`, 'all_proxy'].flatMap((name) => [name, name.toUpperCase()]);
  const variable = names.find((name) => env[name]);
  if (variable === undefined || isExcepted(url, env.no_proxy || env.NO_PROXY || ''))
    return undefined;
  const text = env[variable];
  const withScheme = text.includes('://') ? text : `http://${text}`;
  const proxy = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (!['http:', 'https:'].includes(proxy?.protocol))
    throw new SourceError(`${variable} names no HTTP proxy; only those can be used here.`);
  return { url: proxy, variable };
}

/** Entries: `*`, a host, `.domain` or `domain` (subdomains included), each with a port or not. */
function isExcepted({ hostname, port, protocol }, list) {
  const portNumber = port || (protocol === 'https:' ? '443' : '80');
  return list.split(/[\s,]+/).some((entry) => {
    const [, name = '', wantedPort] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (wantedPort !== undefined && wantedPort !== portNumber) return false;
    if (name === '') return entry === '*';
    return hostname === name || hostname.endsWith(`.${name}`);
  });
}

/**
 * What `http.get` or `https.get` needs to go through a proxy.
 *
 * @param {URL} proxy
 * @param {URL} url
 * @param {{ headers: Record<string, string>, signal: AbortSignal }} options
 * @returns the `module` to ask, and the `url` and `options` to ask it with.
 */
export async function throughProxy(proxy, url, { headers, signal }) {
  const auth = authorization(proxy);
  const module = proxy.protocol === 'https:' ? https : http;
  if (url.protocol === 'http:') {
    const options = { path: url.href, headers: { ...headers, ...auth, host: url.host }, signal };
    return { module, url: proxy, options: { ...options, agent: false } };
  }
  const socket = await tunnel(module, proxy, `${url.hostname}:${url.port || 443}`, auth, signal);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const servername = isIP(host) ? '' : host;
  const createConnection = () => tls.connect({ socket, host, servername });
  return { module: https, url, options: { headers, signal, createConnection } };
}

function authorization({ username, password }) {
  if (username === '') return {};
  const plain = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(plain).toString('base64')}` };
}

function tunnel(module, proxy, path, auth, signal) {
  return new Promise((resolve, reject) => {
    const headers = { ...auth, host: path };
    const request = module.request(proxy, {
      method: 'CONNECT',
      path,
      headers,
      signal,
      agent: false,
    });
    request.on('connect', ({ statusCode, statusMessage }, socket) => {
      if (statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new Error(`the proxy answered ${statusCode} ${statusMessage}`));
    });
    request.on('error', reject);
    request.end();
  });
}
