import { WebSocket } from 'undici';
import { z } from 'zod';

/** What a Node process holds in memory, in bytes. */
export interface Memory {
  readonly rssBytes: number;
  /** Of JavaScript's objects, after a collection. */
  readonly heapBytes: number;
  /** Outside of the heap but held by its objects: buffers, above all. */
  readonly externalBytes: number;
}

const targetsSchema = z.array(z.object({ webSocketDebuggerUrl: z.string() })).min(1);
const answerSchema = z.object({
  id: z.number(),
  error: z.object({ message: z.string() }).optional(),
  result: z.object({ result: z.object({ value: z.unknown() }).optional() }).optional(),
});
const usageSchema = z.object({ rss: z.number(), heapUsed: z.number(), external: z.number() });

/**
 * Looks at a process of this machine that was started with `--inspect`, by the Chrome DevTools
 * Protocol, after it has collected its garbage.
 *
 * @throws Error if nothing listens there, or it doesn't answer as Node does.
 */
export async function memoryOf(inspectorPort: number): Promise<Memory> {
  const response = await fetch(`http://127.0.0.1:${inspectorPort}/json/list`);
  const [target] = targetsSchema.parse(await response.json());
  const session = await Session.open(target?.webSocketDebuggerUrl ?? '');
  try {
    await session.call('HeapProfiler.collectGarbage', {});
    const expression = 'process.memoryUsage()';
    const value = await session.call('Runtime.evaluate', { expression, returnByValue: true });
    const { rss, heapUsed, external } = usageSchema.parse(value);
    return { rssBytes: rss, heapBytes: heapUsed, externalBytes: external };
  } finally {
    session.close();
  }
}

/** One call at a time. */
class Session {
  readonly #socket: WebSocket;
  #calls = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  static async open(url: string): Promise<Session> {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', () => reject(new Error('The inspector refused a session')));
    });
    return new Session(socket);
  }

  /** @returns the value of what was evaluated, if anything was. */
  async call(method: string, params: object): Promise<unknown> {
    const id = ++this.#calls;
    const answered = new Promise<z.infer<typeof answerSchema>>((resolve, reject) => {
      const onMessage = ({ data }: { readonly data: unknown }) => {
        const answer = answerSchema.safeParse(JSON.parse(String(data)));
        if (!answer.success || answer.data.id !== id) return;
        this.#socket.removeEventListener('message', onMessage);
        resolve(answer.data);
      };
      this.#socket.addEventListener('message', onMessage);
      this.#socket.addEventListener('close', () => reject(new Error('The inspector hung up')));
    });
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { error, result } = await answered;
    if (error) throw new Error(`The inspector refused ${method}: ${error.message}`);
    return result?.result?.value;
  }

  close(): void {
    this.#socket.close();
  }
}
