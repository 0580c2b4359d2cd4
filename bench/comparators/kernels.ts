/** How a machine computes: what its numbers are rounded to after each operation, and the order. */
export interface Arithmetic {
  readonly round: (value: number) => number;
  readonly order: 'forward' | 'backward' | 'pairwise' | 'lanes';
}

export const FLOAT64 = (value: number): number => value;
export const FLOAT32 = Math.fround;

/** 8 bits of significand, as cheaper machine learning units round. */
export function bfloat16(value: number): number {
  const [bits = 0] = new Uint32Array(Float32Array.of(value).buffer);
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff_0000;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0] ?? 0;
}

const LANES = 8;

/** The sum of `term(0)` to `term(count - 1)`. */
function sum(count: number, term: (index: number) => number, { round, order }: Arithmetic): number {
  const add = (a: number, b: number): number => round(a + b);
  if (order === 'pairwise') {
    const within = (start: number, end: number): number => {
      if (end - start === 1) return round(term(start));
      const middle = (start + end) >> 1;
      return add(within(start, middle), within(middle, end));
    };
    return within(0, count);
  }
  // As a processor that adds several at a time.
  const lanes = order === 'lanes' ? LANES : 1;
  const sums = Array.from({ length: lanes }, () => 0);
  for (let step = 0; step < count; step++) {
    const index = order === 'backward' ? count - 1 - step : step;
    sums[step % lanes] = add(sums[step % lanes] ?? 0, term(index));
  }
  return sums.reduce(add);
}

/** A row of a matrix product: `columns` sums of as many products as `row` is long. */
export function product(
  row: Float32Array,
  matrix: readonly Float32Array[],
  arithmetic: Arithmetic,
): number[] {
  const { round } = arithmetic;
  return matrix.map((column) =>
    sum(row.length, (i) => round(round(row[i] ?? 0) * round(column[i] ?? 0)), arithmetic),
  );
}

/** Power at the frequencies from 1 to `count` cycles over the signal, by the definition. */
export function spectrum(signal: Float32Array, count: number, arithmetic: Arithmetic): number[] {
  const { round } = arithmetic;
  const { length } = signal;
  return Array.from({ length: count }, (_, index) => {
    const angle = (2 * Math.PI * (index + 1)) / length;
    const part = (wave: (angle: number) => number) =>
      sum(length, (i) => round((signal[i] ?? 0) * round(wave(angle * i))), arithmetic);
    const [real, imaginary] = [part(Math.cos), part(Math.sin)];
    return round(round(round(real * real) + round(imaginary * imaginary)) / length);
  });
}

/** Heat along a rod after some steps of time, at every 16th place. */
export function diffuse(rod: Float32Array, steps: number, { round }: Arithmetic): number[] {
  let now = Array.from(rod, round);
  for (let step = 0; step < steps; step++)
    now = now.map((value, i) => {
      const [left, right] = [now[i - 1] ?? value, now[i + 1] ?? value];
      return round(value + round(0.2 * round(round(left - round(2 * value)) + right)));
    });
  return now.filter((_, place) => place % 16 === 8);
}
