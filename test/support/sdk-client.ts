import assert from 'node:assert/strict';
import OpenAI, { type APIError, type ClientOptions } from 'openai';
import type { SdkScene } from './sdk-scene.ts';
import { until } from './until.ts';

/** Of what `GET /v1/requests/{id}` says. */
interface RequestView {
  readonly id: string;
  readonly status: string;
  readonly priority: string;
  readonly deadline_seconds: number;
  readonly delivery: string;
}

/** OpenAI's SDK in front of a scene. */
export class SdkClient {
  #scene: SdkScene | undefined;
  #client: OpenAI | undefined;

  use(scene: SdkScene): void {
    this.#scene = scene;
    this.#client = this.open();
  }

  get scene(): SdkScene {
    return this.#scene ?? assert.fail('no scene yet');
  }

  /** With the demo key. */
  get client(): OpenAI {
    return this.#client ?? assert.fail('no scene yet');
  }

  /** Without retries, unless a test is about them. */
  open(options: ClientOptions = {}): OpenAI {
    const { baseUrl: baseURL, keys } = this.scene;
    return new OpenAI({ baseURL, apiKey: keys.demo, maxRetries: 0, ...options });
  }

  /** A client, and the status of each answer that it got, or why there was none. */
  counted(options: ClientOptions) {
    const statuses: (number | string)[] = [];
    const counting: typeof fetch = async (...call) => {
      try {
        const response = await fetch(...call);
        statuses.push(response.status);
        return response;
      } catch (error) {
        statuses.push(error instanceof Error ? error.name : 'unknown');
        throw error;
      }
    };
    return { client: this.open({ ...options, fetch: counting }), statuses };
  }

  /** The body of a chat with one message. */
  chat(content: string) {
    return { model: this.scene.model, messages: [{ role: 'user' as const, content }] };
  }

  async viewOf(id: string): Promise<RequestView> {
    return (await this.client.get(`/requests/${id}`)) as RequestView;
  }

  async statusOf(id: string): Promise<string> {
    return (await this.viewOf(id)).status;
  }

  /** What was asked with that text was stopped at the node, and its slot is free. */
  async assertStopped(text: string): Promise<void> {
    await until(async () => {
      const { generations, busySlots } = await this.scene.look(text);
      return busySlots === 0 && generations.every(({ isAborted }) => isAborted);
    }, 'the node was told to stop, and its slot is free');
    assert.equal((await this.scene.look(text)).generations.length, 1);
  }
}

/** A text of one word and some more. */
export function words(first: string, count: number): string {
  return [first, ...Array.from({ length: count }, (_, index) => `word${index}`)].join(' ');
}

/** What a call throws. */
export async function failure<Kind extends APIError>(
  call: Promise<unknown>,
  kind: abstract new (...args: never[]) => Kind,
): Promise<Kind> {
  const error: unknown = await call.then(
    () => assert.fail('it was answered'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof kind, String(error));
  return error;
}
