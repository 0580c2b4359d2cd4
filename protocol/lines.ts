/** Cuts text that arrives in pieces of any size into lines. */
export class LineSplitter {
  #rest = '';

  /** Length of the line that isn't complete yet: whoever reads strangers has to bound it. */
  get pendingCharacters(): number {
    return this.#rest.length;
  }

  /** @returns the lines that `text` completes, without their line ends. */
  push(text: string): string[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.map((line) => line.replace(/\r$/, ''));
  }
}
