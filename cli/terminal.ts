import { stripVTControlCharacters, styleText } from 'node:util';

export type Format = Parameters<typeof styleText>[0];

/** Where text for people goes; colours only where they are shown. */
export interface Terminal {
  write(text: string): void;
  style(format: Format, text: string): string;
}

/** A stream of this process as a terminal. NO_COLOR is respected. */
export function terminalOn(stream: NodeJS.WriteStream): Terminal {
  const coloured = () => stream.isTTY && !process.env['NO_COLOR'];
  return {
    write: (text) => void stream.write(safeStyledText(text, coloured())),
    style: (format, text) =>
      coloured() ? styleText(format, text, { validateStream: false }) : text,
  };
}

const ESCAPE = '\u001b';
/** A style: at worst, one from elsewhere colours text. */
const STYLE = new RegExp(`(${ESCAPE}\\[\\d{1,3}(?:;\\d{1,3})*m)`);

/** The net under all output: where nothing is styled, nothing passes that steers a terminal. */
function safeStyledText(text: string, coloured: boolean): string {
  if (!coloured) return safeText(text);
  return text
    .split(STYLE)
    .map((part, index) => (index % 2 === 1 ? part : safeText(part)))
    .join('');
}

export const terminal = terminalOn(process.stdout);

/**
 * Text from elsewhere: what a model or a node says must not steer the terminal. Control sequences
 * go, and so does every control character but line feed and tab: a sequence may come in pieces. So
 * do the controls of writing direction, which show text in another order than it has.
 */
export function safeText(text: string): string {
  return stripVTControlCharacters(text).replace(/[^\P{Cc}\n\t]|\p{Bidi_Control}/gu, '');
}

/** JSON on one line. JSON itself allows C1 and bidi controls, which terminals may obey. */
export function safeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\u009f]|\p{Bidi_Control}/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
