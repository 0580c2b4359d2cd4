import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** How one answer of the server is to go wrong. */
export type Fault =
  | { readonly kind: 'status'; readonly status: number }
  /** Sends the first half; once `until` resolves the connection is cut, or never without it. */
  | { readonly kind: 'half'; readonly until?: () => Promise<void> }
  /** Answers 200 with the whole, or 206 with the rest, whatever was asked. */
  | { readonly kind: 'ignores range' | 'ignores if-range' }
  /** Not even a status line. */
  | { readonly kind: 'silent' };

/** A request for a file, such as `{ path: '/cdn/model', range: 'bytes=5-', ifRange: '"a"' }`. */
export interface FileRequest {
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

const ARCHIVE = '/assets/temporal.tar.gz';

/**
 * Serves what temporal.download, the hub and its CDN serve, in their shapes. The service's JSON
 * names an archive; the hub redirects to the CDN. Faults are for the files, one per request.
 */
export class DownloadServer {
  archive: Buffer = Buffer.alloc(0);
  model: Buffer = Buffer.alloc(0);
  /** Of both files; none when empty. */
  etag = '"first"';
  /** What the service answers, in place of where the archive is. */
  info: unknown;
  readonly faults: Fault[] = [];
  readonly fileRequests: FileRequest[] = [];
  /** All others, as path and query, also what came as to a proxy. */
  readonly otherRequests: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.#server = createServer((request, response) => {
      void this.#answer(request, response);
    });
    this.#server.on('connection', (socket) => this.#sockets.add(socket));
    this.#server.on('connect', (request, socket) => {
      const auth = request.headers['proxy-authorization'] ?? 'none';
      this.otherRequests.push(`CONNECT ${request.url} ${auth}`);
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    });
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get env(): Record<string, string> {
    return { PLX_TEMPORAL_DOWNLOAD_URL: this.url, HF_ENDPOINT: `${this.url}/hub/` };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    if (path === ARCHIVE) return this.#sendFile(request, response, this.archive);
    if (path.startsWith('/cdn/')) return this.#sendFile(request, response, this.model);
    this.otherRequests.push(path);
    if (path.startsWith('/cli/')) {
      const info = { archiveUrl: `${this.url}${ARCHIVE}`, fileToExtract: 'temporal' };
      response.end(JSON.stringify(this.info === undefined ? info : this.info));
    } else if (path.includes('/resolve/'))
      response.writeHead(302, { location: `/cdn/model?signature=${Math.random()}` }).end();
    else response.writeHead(404).end();
  }

  async #sendFile(
    request: IncomingMessage,
    response: ServerResponse,
    content: Buffer,
  ): Promise<void> {
    const { range, 'if-range': ifRange } = request.headers;
    const path = (request.url ?? '').replace(/\?.*/, '');
    this.fileRequests.push({ path, range, ifRange: ifRange as string | undefined });
    const fault = this.faults.shift();
    if (fault?.kind === 'silent') return;
    if (fault?.kind === 'status') {
      response.writeHead(fault.status).end('trouble');
      return;
    }
    const isSame = ifRange === undefined || ifRange === this.etag;
    const isPartial =
      range !== undefined &&
      fault?.kind !== 'ignores range' &&
      (isSame || fault?.kind === 'ignores if-range');
    const start = isPartial ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
    if (isPartial && start >= content.length) {
      response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
      return;
    }
    const body = content.subarray(start);
    response.writeHead(isPartial ? 206 : 200, {
      'content-length': body.length,
      ...(this.etag === '' ? {} : { etag: this.etag }),
      ...(isPartial
        ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }
        : {}),
    });
    if (fault?.kind !== 'half') {
      response.end(body);
      return;
    }
    response.write(body.subarray(0, Math.ceil(body.length / 2)));
    await fault.until?.();
    if (fault.until) request.socket.end();
  }
}
