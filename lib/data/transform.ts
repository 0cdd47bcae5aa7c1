// From a decoded picture to the square that a model sees.
import { check, FileError } from '../errors.js';
import { checkColour, type ReadImageOptions } from '../io/decode_image.js';
import { roundHalfToEven } from '../rounding.js';
import { crop, mirror, type Pixels, type Window } from './pixels.js';
import { resizeFilters, resizePixels, type ResizeFilter } from './resize.js';

/**
 * How pictures become squares of one size. What the original did with its data sets:
 *
 * | data set | options beside `size: 256` |
 * | --- | --- |
 * | ImageNet | `randomCrop: true` in training |
 * | FFHQ, CelebA-HQ | none |
 * | LSUN | `cropFraction: [1, 1], filter: 'bicubic'`, and `flip: 0.5` in training |
 * | ImageNet for the autoencoders and super-resolution | `cropFraction: [0.5, 1], filter: 'area', randomCrop: true` |
 * | OpenImages | `smallestSide: 384, randomCrop: true` |
 * | OpenImages with boxes | `minCropSide: 256, filter: 'bilinear', randomCrop: true`, and `flip: 0.5` in training |
 *
 * with `orient: false`, since it takes pixels as they are stored.
 */
export interface TransformOptions extends ReadImageOptions {
  /** Side of the squares that come out, in pixels. */
  size: number;
  /**
   * The picture is resized until its smaller side has this many pixels, then a square is cut out. Default:
   * `size`. `null`: it is not resized.
   */
  smallestSide?: number | null;
  /**
   * Instead: a square is cut out first, whose side is between these fractions of the picture's smaller side,
   * at random; it is then resized to `size`.
   */
  cropFraction?: readonly [min: number, max: number];
  /**
   * Or a square whose side is between this many pixels and the picture's smaller side, at random; of a smaller
   * picture it is the smaller side.
   */
  minCropSide?: number;
  /** Default `'linear'`. */
  filter?: ResizeFilter;
  /** Whether squares are cut anywhere, or from the middle. Default: from the middle. */
  randomCrop?: boolean;
  /** Probability of exchanging left and right. Default 0. */
  flip?: number;
}

/** What part of a picture a square shows, in pixels of the picture as it was decoded; not always whole ones. */
export interface Region {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly sourceWidth: number;
  readonly sourceHeight: number;
  /** Whether left and right were exchanged afterwards. */
  readonly mirrored: boolean;
}

/** A square, and where it comes from. */
export interface Square {
  readonly pixels: Pixels;
  readonly region: Region;
}

/** Uniform numbers in [0, 1) that decide what is random about one picture. */
export type Draws = readonly [fraction: number, top: number, left: number, flip: number];

/** Of the picture that a window is cut from. */
type Sides = Pick<Pixels, 'height' | 'width'>;

/** @throws ArgumentError that names the option that is impossible */
export function checkTransform(options: TransformOptions): void {
  const { size, smallestSide, cropFraction, minCropSide, filter, flip, channels, background } =
    options;
  const whole = (name: string, value: number | null | undefined): void =>
    check(value == null || (Number.isSafeInteger(value) && value > 0), () => {
      return `transform: ${name} must be a positive integer, got ${value}.`;
    });
  check(size !== undefined, () => 'transform: size is required.');
  whole('size', size);
  whole('smallestSide', smallestSide);
  whole('maxPixels', options.maxPixels);
  whole('minCropSide', minCropSide);
  const ways = { smallestSide, cropFraction, minCropSide };
  const given = Object.entries(ways).filter(([, value]) => value !== undefined);
  check(given.length <= 1, () => {
    const names = given.map(([name]) => name);
    return `transform: give ${names.join(' or ')}, not ${names.length > 2 ? 'all' : 'both'}.`;
  });
  check(typeof smallestSide !== 'number' || smallestSide >= size, () => {
    return `transform: a square of ${size} pixels does not fit smallestSide ${smallestSide}.`;
  });
  if (cropFraction !== undefined) {
    const [min, max] = cropFraction;
    check(min > 0 && min <= max && max <= 1, () => {
      return `transform: cropFraction must have 0 < min <= max <= 1, got [${min}, ${max}].`;
    });
  }
  check(filter === undefined || resizeFilters.includes(filter), () => {
    return `transform: filter must be one of ${resizeFilters.join(', ')}, got ${filter}.`;
  });
  check(flip === undefined || (flip >= 0 && flip <= 1), () => {
    return `transform: flip is a probability, got ${flip}.`;
  });
  check(channels === undefined || channels === 1 || channels === 3, () => {
    return `transform: channels must be 1 or 3, got ${channels}.`;
  });
  if (background !== undefined) checkColour(background);
}

/**
 * The square that `draws` choose.
 * @param path what errors call the picture
 * @throws FileError when the picture is too small to cut a square from
 */
export function transformPixels(
  image: Pixels,
  options: TransformOptions,
  draws: Draws,
  path: string,
): Square {
  const { size, cropFraction, minCropSide, flip = 0, filter = 'linear' } = options;
  const mirrored = draws[3] < flip;
  const finish = (square: Pixels, window: Window, { height, width }: Sides): Square => ({
    pixels: mirrored ? mirror(square) : square,
    region: {
      x: (window.left * image.width) / width,
      y: (window.top * image.height) / height,
      width: (window.width * image.width) / width,
      height: (window.height * image.height) / height,
      sourceWidth: image.width,
      sourceHeight: image.height,
      mirrored,
    },
  });
  if (!cropFraction && !minCropSide) return resizeThenCrop(image, options, draws, path, finish);
  const window = squareWindow(image, options, draws);
  return finish(resizePixels(crop(image, window), size, size, filter), window, image);
}

// What is cut out before it is resized.
function squareWindow(image: Pixels, options: TransformOptions, draws: Draws): Window {
  const { cropFraction, minCropSide = 1, randomCrop = false } = options;
  const smaller = Math.min(image.height, image.width);
  const least = Math.min(minCropSide, smaller);
  const side = cropFraction
    ? Math.floor(smaller * (cropFraction[0] + (cropFraction[1] - cropFraction[0]) * draws[0]))
    : least + Math.floor(draws[0] * (smaller - least + 1));
  return place(image, Math.max(1, side), randomCrop, draws);
}

function resizeThenCrop(
  image: Pixels,
  { size, smallestSide = size, filter = 'linear', randomCrop = false }: TransformOptions,
  draws: Draws,
  path: string,
  finish: (square: Pixels, window: Window, resized: Sides) => Square,
): Square {
  const smaller = Math.min(image.height, image.width);
  if (smallestSide === null || smallestSide === smaller) {
    if (smaller < size) {
      const text = `${image.width} x ${image.height} pixels are too few to cut out ${size} x ${size}.`;
      throw new FileError(text, path);
    }
    const window = place(image, size, randomCrop, draws);
    return finish(crop(image, window), window, image);
  }
  const scale = smallestSide / smaller;
  const resized = {
    height: roundHalfToEven(image.height * scale),
    width: roundHalfToEven(image.width * scale),
  };
  const window = place(resized, size, randomCrop, draws);
  const square = resizePixels(image, resized.height, resized.width, filter, window);
  return finish(square, window, resized);
}

function place({ height, width }: Sides, side: number, random: boolean, draws: Draws) {
  const [down, across] = random ? [draws[1], draws[2]] : [0.5, 0.5];
  const top = Math.floor((height - side) * down);
  const left = Math.floor((width - side) * across);
  return { top, left, height: side, width: side };
}
