import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { compareImages, IMAGE_V1, imageV1 } from '../../../protocol/compare/image.ts';
import type { ImageResult } from '../../../protocol/compare/image.ts';

/** Grey, opaque; some pixels in another colour. */
function image(width: number, height: number, painted: readonly number[] = []): ImageResult {
  const rgba = new Uint8Array(4 * width * height).fill(128);
  for (let pixel = 0; pixel < width * height; pixel++) rgba[4 * pixel + 3] = 255;
  for (const pixel of painted) rgba.set([255, 0, 0, 255], 4 * pixel);
  return { width, height, rgba };
}

/** As many pixels as asked for, far from each other, in an image of 100 by 100. */
const scattered = (count: number): number[] =>
  Array.from({ length: count }, (_, index) => (index % 12) * 8 + Math.floor(index / 12) * 800);

describe('protocol/compare/image', () => {
  it('is symmetric and agrees with itself, whatever the pixels', () => {
    const images = fc
      .uint8Array({ minLength: 4 * 12, maxLength: 4 * 12 })
      .chain((rgba) =>
        fc.constantFrom<ImageResult>({ width: 4, height: 3, rgba }, { width: 3, height: 4, rgba }),
      );
    fc.assert(
      fc.property(images, images, (a, b) => {
        assert.deepEqual(imageV1.compare(a, b), imageV1.compare(b, a));
        assert.deepEqual(imageV1.compare(a, a), { agrees: true, distance: 0 });
      }),
    );
  });

  it('finds a small region in a large image', () => {
    const found = imageV1.compare(image(500, 500), image(500, 500, [0, 1, 500, 501]));
    assert.deepEqual(found, { agrees: false, reason: 'region', distance: 4 });
    assert.ok(imageV1.compare(image(500, 500), image(500, 500, [0, 1, 500])).agrees);
  });

  it('finds a region that lies across the borders of tiles', () => {
    const square = [7, 8, 107, 108].map((pixel) => pixel + 700);
    assert.equal(imageV1.compare(image(100, 100), image(100, 100, square)).reason, 'region');
  });

  it('finds many pixels that are far from each other', () => {
    assert.ok(imageV1.compare(image(100, 100), image(100, 100, scattered(100))).agrees);
    const found = imageV1.compare(image(100, 100), image(100, 100, scattered(101)));
    assert.deepEqual(found, { agrees: false, reason: 'pixels', distance: 1 });
  });

  it('counts changes that look like anti-aliasing', () => {
    const edge = (value: number): ImageResult => {
      const made = image(16, 16);
      for (let pixel = 0; pixel < 256; pixel++) {
        const x = pixel % 16;
        made.rgba.fill(x < 8 ? 0 : x === 8 ? value : 255, 4 * pixel, 4 * pixel + 3);
      }
      return made;
    };
    assert.equal(imageV1.compare(edge(100), edge(160)).reason, 'region');
  });

  it('finds another opacity', () => {
    const faint = image(10, 10);
    for (let pixel = 0; pixel < 100; pixel++) faint.rgba[4 * pixel + 3] = 200;
    assert.equal(imageV1.compare(image(10, 10), faint).reason, 'region');
  });

  it('refuses another size, also with as many pixels', () => {
    const found = imageV1.compare(image(10, 20), image(20, 10));
    assert.deepEqual(found, { agrees: false, reason: 'size' });
  });

  it('refuses, without throwing, what has too few bytes or no size', () => {
    const short = { width: 10, height: 10, rgba: new Uint8Array(399) };
    assert.equal(imageV1.compare(image(10, 10), short).reason, 'malformed');
    assert.equal(imageV1.compare(short, image(10, 10)).reason, 'malformed');
    for (const width of [NaN, -1, 0.5, Infinity]) {
      const odd = { width, height: 1, rgba: new Uint8Array(4) };
      assert.equal(imageV1.compare(odd, odd).agrees, false);
    }
    const empty = { width: 0, height: 5, rgba: new Uint8Array(0) };
    assert.ok(imageV1.compare(empty, empty).agrees);
  });

  it('reads bytes wherever they begin', () => {
    const whole = image(10, 10);
    const shifted = new Uint8Array(403).subarray(3);
    shifted.set(whole.rgba.subarray(0, 400));
    assert.ok(imageV1.compare(whole, { ...whole, rgba: shifted }).agrees);
    shifted.fill(0);
    assert.ok(!imageV1.compare(whole, { ...whole, rgba: shifted }).agrees);
  });

  it('tolerates colours up to its limit', () => {
    const bright = (by: number): ImageResult => {
      const { rgba, ...size } = image(10, 10);
      return { ...size, rgba: rgba.map((value, place) => (place % 4 < 3 ? value + by : value)) };
    };
    const distances = [0, 2, 40].map((by) => compareImages(bright(0), bright(by), IMAGE_V1));
    assert.deepEqual(
      distances.map(({ distance }) => distance),
      [0, 0, 64],
    );
  });
});
