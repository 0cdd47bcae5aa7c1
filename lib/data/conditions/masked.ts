// Pictures with holes, and where the holes are: what a model for inpainting is conditioned on.
import { tensor } from '../../creation.js';
import type { Device } from '../../device.js';
import type { Tensor } from '../../tensor.js';
import type { ConditionSource, PreparedPicture } from '../condition.js';
import { drawMask, type MaskFamily, type MaskFamilyName, type MaskLimits } from '../masks/index.js';

export interface MaskedPicturesOptions extends MaskLimits {
  /** What the masks look like. Default `'wide'`, what LaMa was trained on. */
  masks?: MaskFamily | MaskFamilyName;
}

/** One picture, and its mask: 1 is to be made. */
interface MaskedSample {
  readonly picture: PreparedPicture;
  readonly mask: Uint8Array;
}

/**
 * Masks pictures as the authors' program for inpainting does (paper, section 4.5): in [0, 1] the picture times
 * 1 - mask, then picture and mask brought to [-1, 1]. Holes are black, -1; in the mask they are 1, the rest -1.
 * The mask of a picture follows from (seed, epoch, index).
 */
export class MaskedPictures implements ConditionSource<MaskedSample> {
  readonly #options: MaskedPicturesOptions;

  /** @throws ArgumentError for masks that are impossible */
  constructor(options: MaskedPicturesOptions = {}) {
    this.#options = options;
    // Told here rather than by the first batch.
    this.#draw(256, { seed: 0 });
  }

  sample(picture: PreparedPicture): MaskedSample {
    const { size, index, key } = picture;
    return {
      picture,
      mask: this.#draw(size, { seed: key.seed, step: key.epoch, sample: index }),
    };
  }

  /** @returns image [N, H, W, C] and mask [N, H, W, 1], float32 */
  batch(samples: readonly MaskedSample[], device: Device): { image: Tensor; mask: Tensor } {
    const [{ size, channels }] = samples.map(({ picture }) => picture);
    const pixels = size * size;
    const image = new Float32Array(samples.length * pixels * channels);
    const mask = new Float32Array(samples.length * pixels);
    samples.forEach(({ picture, mask: made }, n) => {
      for (let pixel = 0; pixel < pixels; ++pixel) {
        const to = n * pixels + pixel;
        mask[to] = made[pixel] ? 1 : -1;
        for (let c = 0; c < channels; ++c) {
          const byte = picture.image[pixel * channels + c];
          image[to * channels + c] = made[pixel] ? -1 : byte / 127.5 - 1;
        }
      }
    });
    const shaped = (values: Float32Array, depth: number) =>
      tensor(values, { shape: [samples.length, size, size, depth], device });
    return { image: shaped(image, channels), mask: shaped(mask, 1) };
  }

  #draw(size: number, key: Parameters<typeof drawMask>[2]): Uint8Array {
    const { masks = 'wide', ...limits } = this.#options;
    return drawMask(masks, { height: size, width: size }, key, limits);
  }
}
