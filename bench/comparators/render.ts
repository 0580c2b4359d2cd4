import type { ImageResult } from '../../protocol/compare/image.ts';
import { Random } from '../sim/random.ts';

/** Pixels on each side: small, so that hundreds can be rendered in a test. */
export const SIDE = 24;

type Vector = readonly [number, number, number];
export interface Sphere {
  readonly centre: Vector;
  readonly radius: number;
  readonly colour: Vector;
}
export interface Scene {
  /** On which all shadows fall. */
  readonly ground: Sphere;
  readonly spheres: readonly Sphere[];
  /** Towards the light, of length 1. */
  readonly light: Vector;
}

/** What each result of arithmetic is rounded to. */
type Round = (value: number) => number;

/** How a machine renders. Honest ones differ in nothing but `round`, `isReversed`, `toByte`. */
export interface Rendering {
  readonly round: Round;
  /** Whether a pixel's samples are added up from the last one. */
  readonly isReversed: boolean;
  /** Samples on each side of a pixel's grid. */
  readonly grid: number;
  readonly hasShadows: boolean;
  /** From 0 to 255 with a fraction, to a whole number. */
  readonly toByte: Round;
}

export const HONEST: Rendering = {
  round: Math.fround,
  isReversed: false,
  grid: 3,
  hasShadows: true,
  toByte: Math.round,
};

export function drawScene(seed: number): Scene {
  const random = new Random(seed);
  const vector = (low: number, high: number): Vector => [
    random.between(low, high),
    random.between(low, high),
    random.between(low, high),
  ];
  const spheres = Array.from({ length: 3 }, () => {
    const [x, y, z] = vector(-1, 1);
    const radius = random.between(0.25, 0.55);
    return { centre: [x, 0.7 * y, 4 + z] as const, radius, colour: vector(0.2, 1) };
  });
  const ground: Sphere = { centre: [0, 21, 4], radius: 20, colour: [0.7, 0.7, 0.6] };
  const [x, z] = vector(-0.6, 0.6);
  return { ground, spheres, light: unit([x, -1.5, z], (value) => value) };
}

/**
 * Spheres before a sky, with shadows, from nothing but sums, products, quotients and square roots:
 * those are the same to the last bit wherever JavaScript runs.
 */
export function render(scene: Scene, rendering: Rendering): ImageResult {
  const { grid, isReversed, round, toByte } = rendering;
  const rgba = new Uint8Array(4 * SIDE * SIDE);
  const samples = grid * grid;
  for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
    let [red, green, blue] = [0, 0, 0];
    for (let step = 0; step < samples; step++) {
      const sample = isReversed ? samples - 1 - step : step;
      const x = (pixel % SIDE) + ((sample % grid) + 0.5) / grid;
      const y = Math.floor(pixel / SIDE) + (Math.floor(sample / grid) + 0.5) / grid;
      const ray = unit([round((2 * x) / SIDE - 1), round((2 * y) / SIDE - 1), 2.5], round);
      const colour = colourAlong(scene, ray, rendering);
      red = round(red + colour[0]);
      green = round(green + colour[1]);
      blue = round(blue + colour[2]);
    }
    for (const [channel, total] of [red, green, blue].entries())
      rgba[4 * pixel + channel] = toByte(255 * Math.min(1, round(total / samples)));
    rgba[4 * pixel + 3] = 255;
  }
  return { width: SIDE, height: SIDE, rgba };
}

const AMBIENT = 0.15;
const EYE: Vector = [0, 0, 0];

function colourAlong(scene: Scene, ray: Vector, { hasShadows, round }: Rendering): Vector {
  const hit = nearest(scene, EYE, ray, round);
  if (hit === undefined) {
    const height = round((ray[1] + 1) / 2);
    return [round(0.5 * height), round(0.6 * height), round(0.8 * height)];
  }
  const { sphere, distance } = hit;
  const point = combine(EYE, ray, distance, round);
  const normal = unit(combine(point, sphere.centre, -1, round), round);
  // Off the surface, which would shadow itself.
  const start = combine(point, normal, 1e-3, round);
  const isLit = !hasShadows || nearest(scene, start, scene.light, round) === undefined;
  const shade = round(
    AMBIENT + (isLit ? round(0.85 * Math.max(0, dot(normal, scene.light, round))) : 0),
  );
  const [red, green, blue] = sphere.colour;
  return [round(red * shade), round(green * shade), round(blue * shade)];
}

function nearest({ ground, spheres }: Scene, from: Vector, ray: Vector, round: Round) {
  let sphere: Sphere | undefined;
  let distance = Infinity;
  for (let index = -1; index < spheres.length; index++) {
    const candidate = spheres[index] ?? ground;
    const reach = distanceTo(candidate, from, ray, round);
    if (reach < distance) [sphere, distance] = [candidate, reach];
  }
  return sphere === undefined ? undefined : { sphere, distance };
}

/** Infinity where the ray doesn't meet it. */
function distanceTo({ centre, radius }: Sphere, from: Vector, ray: Vector, round: Round): number {
  const x = round(centre[0] - from[0]);
  const y = round(centre[1] - from[1]);
  const z = round(centre[2] - from[2]);
  const along = round(round(round(x * ray[0]) + round(y * ray[1])) + round(z * ray[2]));
  const away = round(round(round(x * x) + round(y * y)) + round(z * z));
  const inside = round(round(along * along) + round(round(radius * radius) - away));
  if (inside < 0) return Infinity;
  const distance = round(along - round(Math.sqrt(inside)));
  return distance > 0 ? distance : Infinity;
}

/** a + factor · b */
function combine(a: Vector, b: Vector, factor: number, round: Round): Vector {
  const part = (x: number, y: number) => round(x + round(factor * y));
  return [part(a[0], b[0]), part(a[1], b[1]), part(a[2], b[2])];
}

function dot(a: Vector, b: Vector, round: Round): number {
  return round(round(round(a[0] * b[0]) + round(a[1] * b[1])) + round(a[2] * b[2]));
}

function unit(vector: Vector, round: Round): Vector {
  const length = round(Math.sqrt(dot(vector, vector, round)));
  return [round(vector[0] / length), round(vector[1] / length), round(vector[2] / length)];
}
