// Boxes as the tokens that a model is conditioned on.
import { tensor } from '../../creation.js';
import type { Device } from '../../device.js';
import { check, FileError } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import type { ConditionSource, ConditionWords, PreparedPicture } from '../condition.js';
import type { LabelledBox } from '../dataset.js';
import { philox, streams } from '../philox.js';
import type { Region } from '../transform.js';

/** An object in shares of the whole picture, its category by number, with what else is known of it. */
export type RelativeObject = Omit<LabelledBox, 'label' | 'relative'> & {
  readonly category: number;
};

/** What makes tokens of objects: `LayoutTokens` of the models. */
export interface LayoutEncoder {
  /** Tokens of a layout. */
  readonly length: number;
  encode(
    objects: readonly RelativeObject[],
    view: { crop: Box; mirrored: boolean },
  ): readonly number[];
  /** What tokens say, as far as they tell: boxes, and with `crop` which part of the picture they are seen in. */
  decode?(tokens: readonly number[]): {
    objects: readonly (Box & { readonly category: number })[];
    crop?: Box;
  };
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * The boxes of pictures as token ids, int64 [N, T]: objects in an order that the picture's key decides, with the
 * part that was cut out, mirrored as it was. Labels must be category numbers.
 */
export class LayoutConditions implements ConditionSource<readonly number[]> {
  /** @param categories their names by number; default: the numbers stand for themselves */
  constructor(
    private readonly encoder: LayoutEncoder,
    private readonly categories: readonly string[] = [],
  ) {}

  /**
   * @throws ArgumentError when the picture's data set has no boxes, or their labels are no numbers; FileError when
   *   a box does not lie in the picture
   */
  sample({ item, region, index, key }: PreparedPicture): readonly number[] {
    const { boxes, path } = item;
    check(boxes, () => {
      return `LayoutConditions: ${path} has no boxes: take a data set of annotated pictures.`;
    });
    const objects = boxes.map((box) => relative(box, region, path));
    return this.encoder.encode(shuffled(objects, key, index), {
      crop: shares(region, region),
      mirrored: region.mirrored,
    });
  }

  batch(samples: readonly (readonly number[])[], device: Device): Tensor {
    const ids = BigInt64Array.from(samples.flat(), BigInt);
    return tensor(ids, { shape: [samples.length, this.encoder.length], device });
  }

  /** Boxes in the part that is seen, as whoever looks at the picture beside them has them. */
  describe(tokens: readonly (readonly number[])[]): readonly ConditionWords[] {
    return tokens.map((each) => {
      const layout = this.encoder.decode?.(each);
      if (!layout) return '';
      const { objects, crop = { x: 0, y: 0, width: 1, height: 1 } } = layout;
      return objects.map(({ category, x, y, width, height }) => ({
        label: this.categories[category] ?? String(category),
        x: (x - crop.x) / (crop.width || 1),
        y: (y - crop.y) / (crop.height || 1),
        width: width / (crop.width || 1),
        height: height / (crop.height || 1),
      }));
    });
  }
}

function relative(box: LabelledBox, region: Region, path: string): RelativeObject {
  const { label, relative: isRelative = false, ...rest } = box;
  check(typeof label === 'number', () => {
    return `LayoutConditions: ${path}: labels of boxes must be category numbers. Got '${label}'.`;
  });
  if (isRelative) return { ...rest, category: label };
  const { sourceWidth, sourceHeight } = region;
  // Sides of boxes are often rounded.
  if (box.x + box.width > sourceWidth + 1 || box.y + box.height > sourceHeight + 1)
    throw new FileError(
      `a box reaches beyond the picture's ${sourceWidth} x ${sourceHeight} pixels: it was drawn on a picture of ` +
        'another size, or on one that was not turned as its EXIF asks for (orient: false).',
      path,
    );
  return { ...rest, ...shares(box, region), category: label };
}

const shares = ({ x, y, width, height }: Box, { sourceWidth, sourceHeight }: Region) => ({
  x: x / sourceWidth,
  y: y / sourceHeight,
  width: width / sourceWidth,
  height: height / sourceHeight,
});

// Fisher and Yates, by numbers of the picture's key.
function shuffled<T>(
  items: readonly T[],
  { seed, epoch }: PreparedPicture['key'],
  index: number,
): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; --i) {
    const [word] = philox(seed, streams.objects, epoch, index, i);
    const j = Math.floor((word / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
