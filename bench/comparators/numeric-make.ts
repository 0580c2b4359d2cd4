import type { NumericResult } from '../../protocol/compare/numeric.ts';
import { Random } from '../sim/random.ts';
import { bfloat16, diffuse, FLOAT32, FLOAT64, product, spectrum } from './kernels.ts';
import type { Arithmetic } from './kernels.ts';
import type { NumericData } from './numeric.ts';

export const NUMERIC_MADE = {
  'another order': 'single precision on both sides, added up in two orders',
  'single and double': 'one side in single precision, the other in double',
  'other input': 'the result of another unit',
  'a part left out': 'the last sixteenth of the input, or of the steps, not computed',
  'off by one': 'the input read from one place further on',
  bfloat16: 'each operation rounded to 8 bits',
  'one number changed':
    'one number of the result moved by a share of 10⁻⁵ to 10⁻¹, evenly in the exponent',
} as const;

const UNITS_PER_KERNEL = 40;
const INPUT = 256;
const OUTPUT = 4;
const STEPS = 128;

interface Unit {
  readonly input: Float32Array;
  readonly matrix: readonly Float32Array[];
}
type Kernel = (unit: Unit, arithmetic: Arithmetic, part?: number) => number[];

const KERNELS: readonly Kernel[] = [
  ({ input, matrix }, arithmetic, part = 1) =>
    product(input.subarray(0, INPUT * part), matrix, arithmetic),
  ({ input }, arithmetic, part = 1) => {
    const heard = input.map((value, index) => (index < INPUT * part ? value : 0));
    return spectrum(heard, OUTPUT, arithmetic);
  },
  ({ input }, arithmetic, part = 1) => diffuse(input, STEPS * part, arithmetic).slice(0, OUTPUT),
];

const SINGLE: Arithmetic = { round: FLOAT32, order: 'forward' };
const ORDERS = ['backward', 'pairwise', 'lanes'] as const;

/** Matrix products, spectra and diffusion of random numbers of a normal distribution. */
export function makeNumericData(): NumericData {
  const random = new Random(2);
  const pairs: NumericData['pairs'][number][] = [];
  for (let index = 0; index < UNITS_PER_KERNEL; index++)
    for (const kernel of KERNELS) {
      const unit = drawUnit(random);
      const honest = kernel(unit, SINGLE);
      const add = (kind: string, isHonest: boolean, b: NumericResult) =>
        pairs.push([kind, isHonest, honest, b]);
      // Diffusion has one order only.
      const order = ORDERS[index % ORDERS.length] ?? 'backward';
      if (kernel !== KERNELS[2]) add('another order', true, kernel(unit, { ...SINGLE, order }));
      add('single and double', true, kernel(unit, { round: FLOAT64, order }));
      if (index % 3 > 0) continue;
      add('other input', false, kernel(drawUnit(random), SINGLE));
      add('a part left out', false, kernel(unit, SINGLE, 15 / 16));
      add('off by one', false, kernel({ ...unit, input: shifted(unit.input) }, SINGLE));
      add('bfloat16', false, kernel(unit, { ...SINGLE, round: bfloat16 }));
      for (let repetition = 0; repetition < 3; repetition++)
        add('one number changed', false, oneChanged(honest, random));
    }
  return { pairs };
}

function drawUnit(random: Random): Unit {
  const draw = () => Float32Array.from({ length: INPUT }, () => normal(random));
  return { input: draw(), matrix: Array.from({ length: OUTPUT }, draw) };
}

function normal(random: Random): number {
  return Math.log(random.logNormal(1));
}

function shifted(input: Float32Array): Float32Array {
  return input.map((_, index) => input[index + 1] ?? 0);
}

function oneChanged(numbers: readonly number[], random: Random): number[] {
  const place = Math.floor(random.between(0, numbers.length));
  const share = 10 ** random.between(-5, -1) * (random.chance(0.5) ? 1 : -1);
  return numbers.map((value, index) =>
    index === place ? Math.fround(value * (1 + share)) : value,
  );
}
