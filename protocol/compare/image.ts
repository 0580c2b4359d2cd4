import pixelmatch from 'pixelmatch';
import type { Comparator, Comparison } from './comparator.ts';

/** An image of `4 · width · height` bytes: red, green, blue and opacity, row by row, not
 * multiplied by opacity. */
export interface ImageResult {
  /** In pixels. */
  readonly width: number;
  /** In pixels. */
  readonly height: number;
  readonly rgba: Uint8Array;
}

/** When two images are the same. */
export interface ImageTolerance {
  /** From which distance of colour a pixel differs: 0 to 1, which is black and white (HyAB in
   * OKLab, by pixelmatch). */
  readonly colour: number;
  /** Side of the square, in pixels, that is laid on every place of the image. */
  readonly window: number;
  /** Most pixels that may differ in any such square: what is wrong in one place isn't made good by
   * a large image around it. */
  readonly pixelsPerWindow: number;
  /** Largest share of all pixels that may differ. */
  readonly share: number;
}

/** For renderings in single or double precision that take the same samples in any order. */
export const IMAGE_V1: ImageTolerance = {
  colour: 0.02,
  window: 8,
  pixelsPerWindow: 3,
  share: 0.01,
};

/** The comparator `image`, version 1. */
export const imageV1: Comparator<ImageResult> = {
  name: 'image',
  version: 1,
  equivalence: 'preferred',
  compare: (a, b) => compareImages(a, b, IMAGE_V1),
};

/** `distance` is the largest number of pixels that differ in one window. */
export function compareImages(a: ImageResult, b: ImageResult, by: ImageTolerance): Comparison {
  if (a.width !== b.width || a.height !== b.height) return { agrees: false, reason: 'size' };
  const { width, height } = a;
  if (!isWhole(a) || !isWhole(b)) return { agrees: false, reason: 'malformed' };
  if (a.rgba.length === 0) return { agrees: true, distance: 0 };
  const [left, right] = [aligned(a.rgba), aligned(b.rgba)];
  const count = (windowSize: number): number =>
    // What may be anti-aliasing is counted too: it is a licence to change every edge.
    pixelmatch(left, right, undefined, width, height, {
      threshold: by.colour,
      includeAA: true,
      windowSize,
    });
  const distance = count(by.window);
  if (distance > by.pixelsPerWindow) return { agrees: false, reason: 'region', distance };
  if (count(Infinity) > by.share * width * height)
    return { agrees: false, reason: 'pixels', distance };
  return { agrees: true, distance };
}

function isWhole({ width, height, rgba }: ImageResult): boolean {
  const isSize = (value: number) => Number.isSafeInteger(value) && value >= 0;
  return isSize(width) && isSize(height) && rgba.length === 4 * width * height;
}

/** The library reads four bytes at a time, and throws where they begin in between. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
}
