import { safeText } from './terminal.ts';

const WEI_DIGITS = 18;

/** Prefix and first 8 hex digits of an id: enough for people, and for `prlx` itself. */
export function short(id: string): string {
  return id.slice(0, id.indexOf('_') + 9);
}

/** Wei as $PRLX, exactly: `0.0000548 PRLX`. */
export function prlx(wei: string): string {
  const digits = wei.padStart(WEI_DIGITS + 1, '0');
  const fraction = digits.slice(-WEI_DIGITS).replace(/0+$/, '');
  return `${digits.slice(0, -WEI_DIGITS)}${fraction && `.${fraction}`} PRLX`;
}

/** Wei of $PRLX as people write it: `0.5`; undefined if it is no amount. */
export function weiOf(prlx: string): bigint | undefined {
  const [, whole, fraction = ''] = /^(\d{1,30})(?:\.(\d{1,18}))?$/.exec(prlx) ?? [];
  if (whole === undefined) return undefined;
  return BigInt(whole + fraction.padEnd(WEI_DIGITS, '0'));
}

/** A span of time, in the unit that suits it. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400
    ? `${Math.floor(seconds / 3_600)} h`
    : `${Math.floor(seconds / 86_400)} d`;
}

/** How long ago an ISO time was. */
export function ago(time: string): string {
  return `${span(Date.now() - Date.parse(time))} ago`;
}

/** Columns as wide as their widest cell. Cells are made safe; the last column isn't padded. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [head, ...rows].map((row) => row.map((cell) => safeText(cell)));
  const widths = head.map((_, column) =>
    Math.max(...cells.map((row) => (row[column] ?? '').length)),
  );
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
