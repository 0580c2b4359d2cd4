import type { GenerateRequest } from '../../nodes/backends/backend.ts';
import { after, sendAnswer } from './openai-faults.ts';
import { honest, type Serve } from './openai-server.ts';

/** A way of a server to be unusual, and the text, finish reason and tokens that come of it. */
export interface Quirk {
  readonly name: string;
  readonly answer: readonly [text: string, finishReason: string, completionTokens: number];
  readonly request?: Partial<GenerateRequest>;
  readonly serve: Serve;
}

/** What servers may do, and do. */
export const QUIRKS: readonly Quirk[] = [
  { name: 'is like others', answer: ['prompt-secret one two three', 'stop', 4], serve: honest },
  {
    name: 'leaves out [DONE]',
    answer: ['one two three', 'stop', 3],
    serve: (exchange) => {
      sendAnswer(exchange);
      exchange.usage(3, 3);
      exchange.response.end();
    },
  },
  {
    name: 'keeps the connection open after [DONE]',
    answer: ['one two three', 'stop', 3],
    serve: (exchange) => {
      sendAnswer(exchange);
      exchange.usage(3, 3);
      exchange.raw('data: [DONE]\n\n');
    },
  },
  {
    name: 'sends comments, event names, other line ends and chunks without content',
    answer: ['one two three', 'stop', 3],
    serve: after((exchange) => {
      exchange.raw(': keep-alive\r\n\r\nevent: message\r\nid: 7\r\ndata:{"choices":[]}\r\n\r\n');
      exchange.raw('\r\r');
      exchange.delta({ role: 'assistant', content: null });
      exchange.event({ id: 'x', object: 'chat.completion.chunk' });
    }),
  },
  {
    name: 'sends each byte by itself',
    answer: ['naïve 😀', 'stop', 3],
    serve: async (exchange) => {
      exchange.start();
      const choices = [{ index: 0, delta: { content: 'naïve 😀' } }];
      const bytes = new TextEncoder().encode(`data: ${JSON.stringify({ choices })}\n\n`);
      for (const byte of bytes) {
        exchange.raw(Uint8Array.of(byte));
        // Each write goes out before the next.
        await new Promise((resolve) => setImmediate(resolve));
      }
      exchange.delta({}, 'stop');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'divides a surrogate pair, and sends halves without their others',
    answer: ['a😀b\uFFFDc', 'stop', 4],
    serve: (exchange) => {
      exchange.start();
      for (const content of ['a\ud83d', '\ude00b', '\ude00', 'c\ud83d'])
        exchange.delta({ content });
      exchange.delta({}, 'stop');
      exchange.usage(3, 4);
      exchange.done();
    },
  },
  {
    name: 'reasons apart from the answer',
    answer: ['three', 'stop', 3],
    serve: (exchange) => {
      exchange.start();
      exchange.delta({ reasoning_content: 'one ' });
      exchange.delta({ reasoning: 'two ', content: null });
      exchange.delta({ content: 'three' }, 'stop');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'counts in every chunk',
    answer: ['one two three', 'length', 16],
    serve: (exchange) => {
      exchange.start();
      for (const [index, content] of ['one ', 'two ', 'three'].entries())
        exchange.event({
          choices: [{ index: 0, delta: { content }, finish_reason: index === 2 ? 'length' : null }],
          usage: { prompt_tokens: 3, completion_tokens: index === 2 ? 16 : index },
        });
      exchange.done();
    },
  },
  {
    name: 'leaves the stop string in the text',
    answer: ['one ', 'stop', 3],
    request: { stop: ['two three'] },
    serve: after(() => {}),
  },
  {
    name: 'sends the whole answer at once',
    answer: ['one two three', 'stop', 3],
    serve: (exchange) => {
      exchange.start();
      exchange.delta({ content: 'one two three' }, 'stop');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
];
