import { JinjaTemplateChatWrapper } from 'node-llama-cpp';
import type { ChatHistoryItem, LlamaModel, Token } from 'node-llama-cpp';
import { BackendFailedError, ContextExceededError, InvalidRequestError } from './backend.ts';
import type { ChatMessage } from './backend.ts';

/** What bounds one prompt, in tokens. */
interface PromptLimits {
  readonly maxTokens: number;
  readonly contextTokens: number;
}

/** Tokens of a conversation; throws `InvalidRequestError` and `ContextExceededError`. */
export type PromptEncoder = (messages: readonly ChatMessage[], limits: PromptLimits) => Token[];

/** Tokens of a text that the model goes on with; throws as `PromptEncoder` does. */
export type TextEncoder = (text: string, limits: PromptLimits) => Token[];

/**
 * An encoder by the chat template in the model's own file, so that a prompt has the same tokens as
 * on other engines that follow it. (The library's ready-made ChatML wrapper prepends the BOS token
 * also where the template has none, and leaves out the template's default system message.)
 *
 * Only the template's own text may become control tokens; a message that spells `<|im_end|>` stays
 * text. Throws `BackendFailedError` for a model without a chat template.
 */
export function createPromptEncoder(model: LlamaModel): PromptEncoder {
  const wrapper = createWrapper(model);
  const longestTokenBytes = measureLongestToken(model);
  return (messages, limits) => {
    const bytes = messages.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0);
    return fitting(bytes / longestTokenBytes, limits, () =>
      render(wrapper, messages).tokenize(model.tokenizer),
    );
  };
}

/**
 * An encoder of text as it is: without the template, and none of it becomes a control token. Where
 * the model was trained with a BOS token before each text, it has one here too.
 */
export function createTextEncoder(model: LlamaModel): TextEncoder {
  const longestTokenBytes = measureLongestToken(model);
  const { bos, shouldPrependBosToken } = model.tokens;
  const head = shouldPrependBosToken && bos !== null ? [bos] : [];
  return (text, limits) => {
    const fewestTokens = Buffer.byteLength(text) / longestTokenBytes;
    const prompt = fitting(fewestTokens, limits, () => [...head, ...model.tokenize(text)]);
    if (prompt.length === 0) throw new InvalidRequestError('The prompt has no token.');
    return prompt;
  };
}

/**
 * What `tokenize` gives, if it fits. Tokenising blocks the event loop, which also sends heartbeats:
 * it isn't begun for what can't fit.
 */
function fitting(
  fewestTokens: number,
  { maxTokens, contextTokens }: PromptLimits,
  tokenize: () => Token[],
): Token[] {
  const refuse = (promptTokens: number): never => {
    throw new ContextExceededError({ promptTokens, maxTokens, contextTokens });
  };
  if (Math.ceil(fewestTokens) > contextTokens) refuse(Math.ceil(fewestTokens));
  const prompt = tokenize();
  if (prompt.length + maxTokens > contextTokens) refuse(prompt.length);
  return prompt;
}

function createWrapper(model: LlamaModel): JinjaTemplateChatWrapper {
  const template = model.fileInfo.metadata.tokenizer?.chat_template;
  if (!template)
    throw new BackendFailedError(
      'The model file has no chat template (GGUF key tokenizer.chat_template), so conversations ' +
        "can't be put to it. Use an instruction-tuned model.",
    );
  try {
    return new JinjaTemplateChatWrapper({
      template,
      tokenizer: model.tokenizer,
      joinAdjacentMessagesOfTheSameType: false,
      trimLeadingWhitespaceInResponses: false,
    });
  } catch (cause) {
    throw new BackendFailedError(
      `The chat template in the model file can't be used: ${String(cause)}. Use a model file ` +
        'with a working template.',
      { cause },
    );
  }
}

function render(wrapper: JinjaTemplateChatWrapper, messages: readonly ChatMessage[]) {
  const newTurn: ChatHistoryItem = { type: 'model', response: [] };
  const chatHistory = [...messages.map(toHistoryItem), newTurn];
  try {
    return wrapper.generateContextState({ chatHistory }).contextText;
  } catch (cause) {
    throw new InvalidRequestError(
      `The model's chat template refuses this order of messages: ${String(cause)}. Some models ` +
        'need user and assistant to alternate, or take no system message.',
      { cause },
    );
  }
}

function toHistoryItem({ content, role }: ChatMessage): ChatHistoryItem {
  if (role === 'assistant') return { type: 'model', response: [content] };
  return { type: role, text: content };
}

/** Bytes of the longest text that one token can stand for, or more. */
function measureLongestToken(model: LlamaModel): number {
  const tokens = model.fileInfo.metadata.tokenizer?.ggml.tokens ?? [];
  const lengths = tokens.map((token) => Buffer.byteLength(token));
  const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
  if (longest === 0)
    throw new BackendFailedError(
      'The model file lists no tokens (GGUF key tokenizer.ggml.tokens). Download it again.',
    );
  return longest;
}
