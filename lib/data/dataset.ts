// What a data set of pictures is: described at once, read late.
import { check } from '../errors.js';
import type { Pixels } from './pixels.js';

/** Where a picture's data are. Plain data, so that a worker thread can read it. */
export type ImageSource =
  /** An encoded file, or `length` bytes of one from `begin`. */
  | { readonly file: string; readonly begin?: number; readonly length?: number }
  /** An encoded file in memory. */
  | { readonly encoded: Uint8Array }
  /** Decoded: rows of interleaved bytes from the top; 1 or 3 channels. */
  | { readonly pixels: Pixels };

/** An object in a picture, in pixels of it from its upper left corner, with what may be known of it besides. */
export interface LabelledBox {
  /** What it is, in whatever way the data set names its categories. */
  readonly label: number | string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Whether the four numbers are shares of the picture's width and height instead. Default false. */
  readonly relative?: boolean;
  /** It surrounds several objects of one kind. */
  readonly isGroupOf?: boolean;
  readonly isOccluded?: boolean;
  /** A drawing or a statue of the object. */
  readonly isDepiction?: boolean;
  /** The object is seen from its inside. */
  readonly isInside?: boolean;
}

/** One picture of a data set. */
export interface ImageItem {
  /** What messages and batches call it; unique in its data set. */
  readonly path: string;
  /** A function is called, in the main thread, each time that the picture is wanted. */
  readonly source: ImageSource | (() => Promise<ImageSource>);
  /** Number of its class. All pictures of a data set have one, or none has. */
  readonly label?: number;
  /** What it shows in words, each by itself. */
  readonly captions?: readonly string[];
  /** Where things are in it. */
  readonly boxes?: readonly LabelledBox[];
  /** A picture of its size whose bytes say what each pixel belongs to. */
  readonly map?: ImageSource;
}

/**
 * Pictures by number. Anything with these two members can be loaded; a database needs little more than
 *
 * ```ts
 * const dataset: Dataset = {
 *   length: keys.length,
 *   item: (index) => ({
 *     path: keys[index],
 *     source: async () => ({ encoded: await database.get(keys[index]) }),
 *   }),
 * };
 * ```
 */
export interface Dataset {
  /** Number of pictures. */
  readonly length: number;
  /** Describes picture `index`, 0 <= index < length, the same way each time. Reads nothing. */
  item(index: number): ImageItem;
}

/** Pictures that are in memory already, of one size. */
export class MemoryImages implements Dataset {
  readonly length: number;
  readonly #pixels: Uint8Array;
  readonly #size: Omit<Pixels, 'data'>;
  readonly #labels?: readonly number[];
  readonly #bytes: number;

  /**
   * @param pixels picture after picture, each [height, width, channels] bytes; not copied
   * @param options.labels one class number per picture
   * @throws ArgumentError when the bytes are no whole number of pictures, or labels are missing
   */
  constructor(
    pixels: Uint8Array,
    options: { width: number; height: number; channels: 1 | 3; labels?: readonly number[] },
  ) {
    const { width, height, channels, labels } = options;
    const bytes = width * height * channels;
    check(
      Number.isInteger(width) && width > 0 && Number.isInteger(height) && height > 0,
      () => `MemoryImages: width and height must be positive integers. Got ${width} and ${height}.`,
    );
    check(
      pixels.length % bytes === 0,
      () =>
        `MemoryImages: ${pixels.length} bytes are no whole number of pictures of ${bytes} bytes.`,
    );
    this.length = pixels.length / bytes;
    check(
      labels === undefined || labels.length === this.length,
      () => `MemoryImages: ${this.length} pictures need as many labels. Got ${labels?.length}.`,
    );
    this.#pixels = pixels;
    this.#size = { width, height, channels };
    this.#labels = labels;
    this.#bytes = bytes;
  }

  item(index: number): ImageItem {
    const data = this.#pixels.subarray(index * this.#bytes, (index + 1) * this.#bytes);
    const source = { pixels: { data, ...this.#size } };
    return { path: `picture ${index}`, source, label: this.#labels?.[index] };
  }
}
