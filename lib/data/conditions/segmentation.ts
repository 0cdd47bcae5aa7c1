// Label maps beside pictures as what a model is conditioned on (paper, section 4.3.2): one channel a label.
import { arange, tensor } from '../../creation.js';
import { check, FileError } from '../../errors.js';
import { eq } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import type { ConditionSource, PreparedPicture } from '../condition.js';
import { cutLabels, loadLabelMap, type LabelMapOptions } from '../label_map.js';

/** What the bytes of a map mean. */
export interface LabelOptions {
  /** Labels there are, 0 to `labels` - 1: the channels of the condition. COCO-Stuff as the original has it: 182. */
  labels: number;
  /** A byte that stands for nothing: its pixels have no channel. Default: there is none. */
  ignore?: number;
  /** Added to each byte before it is looked at, modulo 256: with 1 the 255 of "unlabelled" becomes 0. Default 0. */
  shift?: number;
}

export type SegmentationOptions = LabelOptions & LabelMapOptions;

/** A pixel that belongs to no label, and so to no channel. */
const nothing = -1;

/**
 * One-hot maps [N, size, size, labels], float32, of the same part of each picture that is trained on: resized by
 * taking the nearest label, and mirrored where the picture was.
 *
 * @throws ArgumentError for options that are impossible
 */
export function segmentation(options: SegmentationOptions): ConditionSource<Int32Array> {
  checkLabelOptions(options);
  return {
    async sample({ item, region, size }: PreparedPicture) {
      if (!item.map) throw new FileError('there is no label map beside this picture.', item.path);
      const name = 'file' in item.map ? item.map.file : `the label map of ${item.path}`;
      const map = await loadLabelMap(item.map, name, options);
      const { sourceWidth, sourceHeight } = region;
      if (map.width !== sourceWidth || map.height !== sourceHeight)
        throw new FileError(
          `the label map has ${map.width} x ${map.height} pixels, its picture ${sourceWidth} x ${sourceHeight}; ` +
            'they must be the same.',
          name,
        );
      return labelsOf(cutLabels(map, region, [size, size]), size, options, name);
    },
    batch: (samples, device) => {
      const size = Math.sqrt(samples[0].length);
      return tidy(() => {
        const ids = new Int32Array(samples.length * size * size);
        samples.forEach((labels, n) => ids.set(labels, n * size * size));
        const shape = [samples.length, size, size, 1];
        const channels = arange(0, options.labels, 1, { dtype: 'int32', device });
        return eq(tensor(ids, { shape, device }), channels).to('float32');
      });
    },
  };
}

/**
 * Reads a label map as `semanticToImage` takes it: int32 [1, H, W], -1 where a pixel has no label.
 *
 * @throws FileError when it is damaged or a byte is no label; ArgumentError for options that are impossible
 */
export async function readLabels(path: string, options: SegmentationOptions): Promise<Tensor> {
  checkLabelOptions(options);
  const { data, width, height } = await loadLabelMap({ file: path }, path, options);
  return tensor(labelsOf(data, width, options, path), { shape: [1, height, width] });
}

/** @throws ArgumentError that names the option that is impossible */
export function checkLabelOptions({ labels, ignore, shift = 0 }: LabelOptions): void {
  check(Number.isInteger(labels) && labels >= 1 && labels <= 256, () => {
    return `segmentation: labels must be a whole number from 1 to 256, since a map's pixel is a byte. Got ${labels}.`;
  });
  for (const [name, value] of Object.entries({ ignore: ignore ?? 0, shift }))
    check(Number.isInteger(value) && value >= 0 && value <= 255, () => {
      return `segmentation: ${name} must be a whole number from 0 to 255. Got ${value}.`;
    });
}

/**
 * A map's bytes as labels; -1 where a pixel belongs to none.
 *
 * @param width of a row, to tell where a wrong label is
 * @param path what errors call the map
 * @throws FileError when a byte is no label
 */
export function labelsOf(
  bytes: Uint8Array,
  width: number,
  { labels, ignore, shift = 0 }: LabelOptions,
  path: string,
): Int32Array {
  return Int32Array.from(bytes, (byte, i) => {
    if (byte === ignore) return nothing;
    const label = (byte + shift) & 255;
    if (label < labels) return label;
    const place = `(${i % width}, ${Math.floor(i / width)})`;
    const shifted = shift === 0 ? '' : `, ${label} after the shift of ${shift}`;
    throw new FileError(
      `${byte} at ${place}${shifted} is none of the ${labels} labels (0 to ${labels - 1}). If it stands for ` +
        `"unlabelled", say so: ignore ${byte}.`,
      path,
    );
  });
}
