/**
 * Rows as CSV (RFC 4180): lines end with CRLF, the first one has the names.
 *
 * @param columns a name and what is written under it, in order.
 */
export function csv<Row>(
  columns: readonly (readonly [name: string, of: (row: Row) => string | number | null])[],
  rows: readonly Row[],
): string {
  const lines = [
    columns.map(([name]) => field(name)),
    ...rows.map((row) => columns.map(([, of]) => field(of(row)))),
  ];
  return lines.map((fields) => `${fields.join(',')}\r\n`).join('');
}

function field(value: string | number | null): string {
  const text = String(value ?? '');
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
