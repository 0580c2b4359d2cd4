import type { Comparator, Comparison } from './comparator.ts';

/** Numbers in lists and records, in any nesting. Typed arrays are lists like any other. */
export type NumericResult =
  | number
  | Float32Array
  | Float64Array
  | readonly NumericResult[]
  | { readonly [name: string]: NumericResult };

/** How far two numbers may be apart. It is enough to be within one of the three. */
export interface Tolerance {
  /** Largest difference, in the result's own unit. 0: none. */
  readonly absolute: number;
  /** Largest difference, as a share of the larger magnitude. 0: none. */
  readonly relative: number;
  /** Largest number of steps from one floating-point number to the next one. 0: none. */
  readonly ulps: number;
  /** Whose steps `ulps` counts. Numbers are rounded to it for that, and for nothing else. */
  readonly precision: 'float32' | 'float64';
}

/**
 * For work in single precision, whose order of operations is each machine's own. The absolute
 * tolerance is for sums that nearly cancel; a class of much smaller numbers needs another version.
 */
const NUMERIC_V1: Tolerance = {
  absolute: 3e-5,
  relative: 3e-5,
  ulps: 4,
  precision: 'float32',
};

/** The comparator `numeric`, version 1. */
export const numericV1: Comparator<NumericResult> = {
  name: 'numeric',
  version: 1,
  equivalence: 'preferred',
  compare: (a, b) => compareNumeric(a, b, NUMERIC_V1),
};

/**
 * Compares number by number. `distance` is the largest difference by what is tolerated, so that up
 * to 1 agrees. Another length, another set of names, or a number where there is a list: `shape`.
 *
 * NaN agrees with NaN alone, and an infinity with itself alone, as honest work that divides by zero
 * does so everywhere. -0 is 0.
 */
export function compareNumeric(a: NumericResult, b: NumericResult, by: Tolerance): Comparison {
  let distance = 0;
  // Not by recursion: how deep it is nested is the node's choice.
  const open: [unknown, unknown][] = [[a, b]];
  for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
    const [left, right] = pair;
    if (typeof left === 'number' && typeof right === 'number')
      distance = Math.max(distance, difference(left, right, by));
    else if (isList(left) && isList(right)) {
      if (left.length !== right.length) return SHAPE;
      for (let index = 0; index < left.length; index++) open.push([left[index], right[index]]);
    } else if (isRecord(left) && isRecord(right)) {
      const names = Object.keys(left);
      if (names.length !== Object.keys(right).length) return SHAPE;
      if (!names.every((name) => Object.hasOwn(right, name))) return SHAPE;
      for (const name of names) open.push([left[name], right[name]]);
    } else return SHAPE;
  }
  if (distance <= 1) return { agrees: true, distance };
  return { agrees: false, reason: 'numbers', ...(Number.isFinite(distance) ? { distance } : {}) };
}

const SHAPE: Comparison = { agrees: false, reason: 'shape' };

/** By what is tolerated: up to 1 agrees. */
function difference(a: number, b: number, by: Tolerance): number {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  if (!Number.isFinite(a) || !Number.isFinite(b)) return Infinity;
  const absolute = Math.abs(a - b);
  return Math.min(
    absolute / by.absolute,
    absolute / (by.relative * Math.max(Math.abs(a), Math.abs(b))),
    // Two numbers may be 0 steps apart in single precision, and 0 / 0 is no distance.
    by.ulps === 0 ? Infinity : ulpsBetween(a, b, by.precision) / by.ulps,
  );
}

/**
 * Steps between two finite numbers; Infinity if one of them is too large for the precision. Both
 * may be the same number in it, 0 steps apart.
 */
export function ulpsBetween(a: number, b: number, precision: Tolerance['precision']): number {
  if (precision === 'float64') {
    const steps = Number(ordinal64(a) - ordinal64(b));
    return Math.abs(steps);
  }
  const [x, y] = [Math.fround(a), Math.fround(b)];
  // Everything beyond its range would be one infinity, and all of it would agree.
  if (!Number.isFinite(x) || !Number.isFinite(y)) return Infinity;
  return Math.abs(ordinal32(x) - ordinal32(y));
}

/** Place among all float64 numbers in their order; both zeros have place 0. */
function ordinal64(value: number): bigint {
  const bits = new BigInt64Array(Float64Array.of(value).buffer)[0] ?? 0n;
  return bits < 0n ? -BigInt.asUintN(63, bits) : bits;
}

function ordinal32(value: number): number {
  const bits = new Int32Array(Float32Array.of(value).buffer)[0] ?? 0;
  return bits < 0 ? -(bits & 0x7fff_ffff) : bits;
}

type List = ArrayLike<unknown>;

function isList(value: unknown): value is List {
  return Array.isArray(value) || value instanceof Float32Array || value instanceof Float64Array;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !isList(value);
}
