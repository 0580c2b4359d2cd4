import { createHash } from 'node:crypto';
import type { ImageResult } from '../../protocol/compare/image.ts';
import { Random } from '../sim/random.ts';
import type { Pair } from './rates.ts';
import { drawScene, HONEST, render, SIDE, type Scene } from './render.ts';

/** Images are rendered again, and known again by a digest over all of them. */
export interface ImageData {
  /** One scene for each. */
  readonly seeds: readonly number[];
  /** SHA-256 over the pixels of all images, in hex. */
  readonly digest: string;
}

export const IMAGE_MADE = {
  'single and double': 'one side in single precision, the other in double',
  'another order': "each pixel's samples added up from the last one, in double precision",
  'bytes cut off': 'channels cut to whole numbers, not rounded, in single precision',
  'object missing': 'the nearest sphere left out, which may be a small one or half hidden',
  'next frame': 'all spheres moved by a fiftieth of the view',
  'no shadows': 'the rays to the light left out',
  'fewer samples': '4 for each pixel in place of 9',
  'one sample': '1 for each pixel in place of 9',
  'small region replaced': 'a square of 1 to 6 pixels painted in the mean of the image',
  noise: 'up to 1 to 16 of 255 added to each channel or taken away',
  darker: 'darker by 1 to 16 of 100',
} as const;

type Kind = keyof typeof IMAGE_MADE;
const HONEST_KINDS: readonly Kind[] = ['single and double', 'another order', 'bytes cut off'];
const DOUBLE = (value: number): number => value;

/** The second image of a pair; the first one is `render(scene, HONEST)`. */
const MAKE: Readonly<
  Record<Kind, (scene: Scene, honest: ImageResult, seed: number) => ImageResult>
> = {
  'single and double': (scene) => render(scene, { ...HONEST, round: DOUBLE }),
  'another order': (scene) => render(scene, { ...HONEST, round: DOUBLE, isReversed: true }),
  'bytes cut off': (scene) => render(scene, { ...HONEST, toByte: Math.floor }),
  'object missing': (scene) => render(withoutNearest(scene), HONEST),
  'next frame': (scene) => render(moved(scene), HONEST),
  'no shadows': (scene) => render(scene, { ...HONEST, hasShadows: false }),
  'fewer samples': (scene) => render(scene, { ...HONEST, grid: 2 }),
  'one sample': (scene) => render(scene, { ...HONEST, grid: 1 }),
  'small region replaced': (_, honest, seed) => withRegion(honest, seed),
  noise: (_, honest, seed) => withNoise(honest, seed),
  darker: (_, honest, seed) => changed(honest, (v) => Math.round(v * (1 - graded(seed, 16) / 100))),
};

/** Every honest kind for each scene, and the wrong ones for every other one. */
function renderPairs(seeds: readonly number[]): Pair<ImageResult>[] {
  const kinds = Object.keys(MAKE) as Kind[];
  return seeds.flatMap((seed, index) => {
    const scene = drawScene(seed);
    const a = render(scene, HONEST);
    const some = index % 2 === 0 ? kinds : HONEST_KINDS;
    return some.map((kind) => {
      const isHonest = HONEST_KINDS.includes(kind);
      return { kind, isHonest, a, b: MAKE[kind](scene, a, seed) };
    });
  });
}

/** From 1 to `most`, each as often as any other over the scenes. */
function graded(seed: number, most: number): number {
  return 1 + (Math.floor(seed / 2) % most);
}

function digestPairs(pairs: readonly Pair<ImageResult>[]): string {
  const hash = createHash('sha256');
  for (const { a, b } of pairs) hash.update(a.rgba).update(b.rgba);
  return hash.digest('hex');
}

/** @throws Error when other images come out than when the fixture was made. */
export function imagePairs({ seeds, digest }: ImageData): Pair<ImageResult>[] {
  const pairs = renderPairs(seeds);
  if (digestPairs(pairs) !== digest) throw new Error('the images are not those of the fixture');
  return pairs;
}

const SCENES = 70;

export function makeImageData(): ImageData {
  const seeds = Array.from({ length: SCENES }, (_, index) => index + 1);
  return { seeds, digest: digestPairs(renderPairs(seeds)) };
}

function withoutNearest({ spheres, ...scene }: Scene): Scene {
  const depths = spheres.map(({ centre, radius }) => centre[2] - radius);
  const nearest = depths.indexOf(Math.min(...depths));
  return { ...scene, spheres: spheres.filter((_, index) => index !== nearest) };
}

function moved({ spheres, ...scene }: Scene): Scene {
  const step = (2 * 4) / 2.5 / 50;
  const move = (sphere: Scene['spheres'][number]) => {
    const [x, y, z] = sphere.centre;
    return { ...sphere, centre: [x + step, y, z] as const };
  };
  return { ...scene, spheres: spheres.map(move) };
}

function changed(
  { width, height, rgba }: ImageResult,
  change: (value: number, place: number) => number,
): ImageResult {
  const clamp = (value: number) => Math.min(255, Math.max(0, value));
  const isColour = (place: number) => place % 4 < 3;
  return {
    width,
    height,
    rgba: rgba.map((value, place) => (isColour(place) ? clamp(change(value, place)) : value)),
  };
}

function withNoise(image: ImageResult, seed: number): ImageResult {
  const random = new Random(seed);
  const most = graded(seed, 16);
  return changed(image, (value) => value + Math.round(random.between(-most, most)));
}

function withRegion(image: ImageResult, seed: number): ImageResult {
  const random = new Random(seed);
  const side = graded(seed, 6);
  const [left, top] = [0, 0].map(() => Math.floor(random.between(0, SIDE - side)));
  const means = [0, 1, 2].map((channel) => {
    const values = image.rgba.filter((_, place) => place % 4 === channel);
    return Math.round(values.reduce((sum, value) => sum + value, 0) / values.length);
  });
  const isWithin = (value: number, start = 0) => value >= start && value < start + side;
  return changed(image, (value, place) => {
    const pixel = Math.floor(place / 4);
    const isInside = isWithin(pixel % SIDE, left) && isWithin(Math.floor(pixel / SIDE), top);
    return isInside ? (means[place % 4] ?? 0) : value;
  });
}
