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
  return (messages, { maxTokens, contextTokens }) => {
    const refuse = (promptTokens: number): never => {
      throw new ContextExceededError({ promptTokens, maxTokens, contextTokens });
    };
    // Tokenising blocks the event loop, which also sends heartbeats: don't start on what can't fit.
    const bytes = messages.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0);
    const fewestTokens = Math.ceil(bytes / longestTokenBytes);
    if (fewestTokens > contextTokens) refuse(fewestTokens);
    const prompt = render(wrapper, messages).tokenize(model.tokenizer);
    if (prompt.length + maxTokens > contextTokens) refuse(prompt.length);
    return prompt;
  };
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
