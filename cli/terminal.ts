import { stripVTControlCharacters, styleText } from 'node:util';

export type Format = Parameters<typeof styleText>[0];

/** Where text for people goes; colours only where they are shown. */
export interface Terminal {
  write(text: string): void;
  style(format: Format, text: string): string;
}

/** A stream of this process as a terminal. NO_COLOR is respected. */
export function terminalOn(stream: NodeJS.WriteStream): Terminal {
  return {
    write: (text) => void stream.write(text),
    style: (format, text) =>
      stream.isTTY && !process.env['NO_COLOR']
        ? styleText(format, text, { validateStream: false })
        : text,
  };
}

export const terminal = terminalOn(process.stdout);

/**
 * Text from elsewhere: what a model or a node says must not steer the terminal. Control sequences
 * go, and so does every control character but line feed and tab: a sequence may come in pieces.
 */
export function safeText(text: string): string {
  return stripVTControlCharacters(text).replace(/[^\P{Cc}\n\t]/gu, '');
}

/** JSON on one line. JSON itself allows C1 control characters, which some terminals obey. */
export function safeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\u009f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
