/** Boxes as tokens: the vocabulary of layout-to-image models (paper, section 4.3.1 and appendix E.2.1). */
import { ArgumentError, check } from '../../errors.js';
import { roundHalfToEven } from '../../rounding.js';
import { checkOptions, flag, integer, type Rules } from '../rules.js';

/** A rectangle in shares of a picture's width and height, from its upper left corner. */
export interface RelativeBox {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** What may be said of an object beside what and where it is. */
export interface ObjectFlags {
  /** the box surrounds several objects of its category */
  readonly isGroupOf?: boolean;
  readonly isOccluded?: boolean;
  /** a drawing or a statue of it */
  readonly isDepiction?: boolean;
  /** seen from its inside */
  readonly isInside?: boolean;
}

/** A thing in a picture. */
export interface LayoutObject extends RelativeBox, ObjectFlags {
  /** number of its category, from 0 */
  readonly category: number;
}

/** What of a picture is shown: a part of it, perhaps in a mirror. */
export interface LayoutView {
  /** the part, in shares of the whole picture; default all of it */
  readonly crop?: RelativeBox;
  /** left and right are exchanged; default false */
  readonly mirrored?: boolean;
}

/** What tokens say: at most `maxObjects` objects, and with `encodeCrop` which part of the picture is seen. */
export interface Layout {
  readonly objects: readonly LayoutObject[];
  readonly crop?: RelativeBox;
}

export interface LayoutTokensConfig {
  /** number of categories, K */
  categories: number;
  /** tokens there are, V; positions lie on a grid of ⌊√V⌋ x ⌊√V⌋ and the last token means none. Default 8192 */
  vocabSize?: number;
  /** default 30 */
  maxObjects?: number;
  /** two tokens more tell which part of the picture is seen; default true */
  encodeCrop?: boolean;
  /** objects of one kind in a group have a class token of their own; default false */
  groupParameter?: boolean;
  /** and so have occluded ones, depictions and insides; default false */
  additionalParameters?: boolean;
}

const rules: Rules<Required<LayoutTokensConfig>> = {
  categories: integer(1, 2 ** 24),
  vocabSize: integer(5, 2 ** 24),
  maxObjects: integer(1, 2 ** 16),
  encodeCrop: flag,
  groupParameter: flag,
  additionalParameters: flag,
};

const what = 'LayoutTokens';
const whole: RelativeBox = { x: 0, y: 0, width: 1, height: 1 };
const flagNames = ['isGroupOf', 'isOccluded', 'isDepiction', 'isInside'] as const;

/**
 * The original's token vocabulary of layouts: three tokens for each object, its class and two corners, then two
 * for the part that is seen. Classes and corners share one range of numbers; their position tells them apart.
 *
 * ```ts
 * const vocabulary = new LayoutTokens({ categories: 340 });
 * const tokens = vocabulary.encode([{ category: 7, x: 0.1, y: 0.2, width: 0.5, height: 0.5 }]); // 92 numbers
 * ```
 */
export class LayoutTokens {
  readonly categories: number;
  /** tokens of a layout: 92 by default */
  readonly length: number;
  /** the token that fills the places of objects that are not there */
  readonly none: number;
  readonly maxObjects: number;
  readonly encodesCrop: boolean;
  /** sides of the grid on which corners lie: 90 by default */
  readonly sections: number;
  readonly #flags: readonly boolean[];

  /** @throws ArgumentError for options out of range, or more classes than there are tokens */
  constructor(config: LayoutTokensConfig) {
    checkOptions<LayoutTokensConfig>(what, config, rules, ['categories']);
    const { categories, vocabSize = 8192, maxObjects = 30, encodeCrop = true } = config;
    const { groupParameter: group = false, additionalParameters: more = false } = config;
    this.categories = categories;
    this.maxObjects = maxObjects;
    this.encodesCrop = encodeCrop;
    this.length = 3 * maxObjects + (encodeCrop ? 2 : 0);
    this.none = vocabSize - 1;
    this.sections = Math.floor(Math.sqrt(vocabSize));
    this.#flags = [group, more, more, more];
    const classes = categories * 2 ** (this.#flags.lastIndexOf(true) + 1);
    check(classes < vocabSize, () => {
      return `${what}: ${categories} categories take ${classes} class tokens; a vocabulary of ${vocabSize} has ${this.none} for them.`;
    });
  }

  /**
   * The tokens of objects in a picture, in the order given; it should be a random one in training. Objects out
   * of sight are left out, and so are those beyond `maxObjects`. With `encodeCrop` boxes stay those of the whole
   * picture, without it they become those of the part.
   *
   * @throws ArgumentError for a category that does not exist, or numbers that make no box
   */
  encode(objects: readonly LayoutObject[], view: LayoutView = {}): number[] {
    const { crop = whole, mirrored = false } = view;
    checkBox(crop, 'the part that is seen');
    check(crop.width > 0 && crop.height > 0, () => `${what}: the part that is seen has no area.`);
    objects.forEach((object, i) => this.#checkObject(object, i));
    const frame = this.encodesCrop ? whole : crop;
    const seen = objects.filter((object) => intersects(object, crop)).slice(0, this.maxObjects);
    const tokens = seen.flatMap((object) => {
      const box = within(object, frame);
      return [this.#classToken(object), ...this.#corners(mirrored ? mirror(box) : box)];
    });
    while (tokens.length < 3 * this.maxObjects) tokens.push(this.none);
    if (this.encodesCrop) tokens.push(...this.#corners(mirrored ? mirror(crop) : crop));
    return tokens;
  }

  /**
   * What tokens say, to the accuracy of the grid.
   * @throws ArgumentError when they are no layout's
   */
  decode(tokens: readonly number[]): Layout {
    check(tokens.length === this.length, () => {
      return `${what}: a layout has ${this.length} tokens. Got ${tokens.length}.`;
    });
    const objects: LayoutObject[] = [];
    for (let i = 0; i < 3 * this.maxObjects; i += 3) {
      const [token, first, last] = tokens.slice(i, i + 3);
      if (token === this.none && first === this.none && last === this.none) continue;
      objects.push({ ...this.#objectOf(token), ...this.#boxOf(first, last) });
    }
    if (!this.encodesCrop) return { objects };
    const [first, last] = tokens.slice(-2);
    return { objects, crop: this.#boxOf(first, last) };
  }

  #checkObject(object: LayoutObject, index: number): void {
    const { category } = object;
    check(Number.isInteger(category) && category >= 0 && category < this.categories, () => {
      return `${what}: category of object ${index} must be an integer from 0 to ${this.categories - 1}. Got ${category}.`;
    });
    checkBox(object, `object ${index}`);
  }

  #classToken(object: LayoutObject): number {
    const bits = flagNames.map((name, bit) => (this.#flags[bit] && object[name] ? 2 ** bit : 0));
    return object.category + this.categories * bits.reduce((sum, bit) => sum + bit, 0);
  }

  #objectOf(token: number): ObjectFlags & { category: number } {
    const bits = Math.floor(token / this.categories);
    const set = flagNames.filter((_, bit) => bits & (2 ** bit));
    const known = set.every((name) => this.#flags[flagNames.indexOf(name)]);
    if (!(Number.isInteger(token) && token >= 0 && bits < 16 && known))
      throw new ArgumentError(`${what}: ${token} is no token of a class.`);
    return {
      category: token % this.categories,
      ...Object.fromEntries(set.map((name) => [name, true])),
    };
  }

  #corners({ x, y, width, height }: RelativeBox): [number, number] {
    const token = (right: number, down: number) => {
      const place = (share: number) => roundHalfToEven(share * (this.sections - 1));
      return place(down) * this.sections + place(right);
    };
    return [token(x, y), token(x + width, y + height)];
  }

  #boxOf(first: number, last: number): RelativeBox {
    const [x, y] = this.#place(first);
    const [right, bottom] = this.#place(last);
    return { x, y, width: right - x, height: bottom - y };
  }

  #place(token: number): [number, number] {
    const { sections } = this;
    check(Number.isInteger(token) && token >= 0 && token < sections ** 2, () => {
      return `${what}: ${token} is no token of a place: these are 0 to ${sections ** 2 - 1}.`;
    });
    return [(token % sections) / (sections - 1), Math.floor(token / sections) / (sections - 1)];
  }
}

function checkBox(box: RelativeBox, name: string): void {
  const { x, y, width, height } = box;
  const finite = [x, y, width, height].every((value) => Number.isFinite(value));
  check(finite && width >= 0 && height >= 0, () => {
    return `${what}: ${name} must have finite x and y, and a width and height of at least 0. Got ${x}, ${y}, ${width}, ${height}.`;
  });
}

function intersects(a: RelativeBox, b: RelativeBox): boolean {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return width > 0 && height > 0 && width * height > 0;
}

// As the original does: what is cut off on the left or above does not shorten the box, only its end is held back.
function within(box: RelativeBox, frame: RelativeBox): RelativeBox {
  const clamp = (value: number) => Math.min(1, Math.max(0, value));
  const x = clamp((box.x - frame.x) / frame.width);
  const y = clamp((box.y - frame.y) / frame.height);
  return {
    x,
    y,
    width: Math.min(box.width / frame.width, 1 - x),
    height: Math.min(box.height / frame.height, 1 - y),
  };
}

const mirror = (box: RelativeBox): RelativeBox => ({ ...box, x: 1 - (box.x + box.width) });
