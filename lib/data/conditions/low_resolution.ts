// What super-resolution is conditioned on: the picture made small (paper, section 4.4).
import { tensor } from '../../creation.js';
import type { Device } from '../../device.js';
import { check } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import type { ConditionSource, PreparedPicture } from '../condition.js';
import { checkDegradation, degrade, type DegradationName } from '../degradation/index.js';
import type { Pixels } from '../pixels.js';

export interface LowResolutionOptions {
  /** Default `'bsrgan_light'`, as the published model was trained. */
  degradation?: DegradationName;
  /** How many times smaller the picture is made; a divisor of its side. Default 4. */
  factor?: number;
}

/**
 * Small pictures beside those that are trained on, [N, size / factor, size / factor, C] in [-1, 1]. What is random
 * about a degradation depends on seed, epoch and the picture's number alone.
 *
 * ```ts
 * const loader = new DataLoader(dataset, {
 *   batchSize: 8,
 *   transform: { size: 256, cropFraction: [0.5, 1], filter: 'area', randomCrop: true },
 *   condition: new LowResolution({ degradation: 'bsrgan_light', factor: 4 }),
 * });
 * ```
 */
export class LowResolution implements ConditionSource<Pixels> {
  readonly degradation: DegradationName;
  readonly factor: number;

  /** @throws ArgumentError when there is no such degradation, or the factor is impossible */
  constructor({ degradation = 'bsrgan_light', factor = 4 }: LowResolutionOptions = {}) {
    checkDegradation(degradation, factor);
    this.degradation = degradation;
    this.factor = factor;
  }

  /** @throws ArgumentError when the factor is no divisor of the side of pictures */
  checkSide(size: number): void {
    check(size % this.factor === 0, () => {
      return (
        `LowResolution: pictures of ${size} pixels cannot be made ${this.factor} times smaller: the side ` +
        'must be a multiple of the factor.'
      );
    });
  }

  async sample({ image: data, size, channels, key, index }: PreparedPicture): Promise<Pixels> {
    this.checkSide(size);
    const picture = { data, width: size, height: size, channels };
    const { image } = await degrade(picture, this.degradation, this.factor, { ...key, index });
    return image;
  }

  batch(samples: readonly Pixels[], device: Device): Tensor {
    const [{ width, height, channels }] = samples;
    const values = new Float32Array(samples.length * width * height * channels);
    samples.forEach(({ data }, n) => {
      const offset = n * data.length;
      for (let i = 0; i < data.length; ++i) values[offset + i] = data[i] / 127.5 - 1;
    });
    return tensor(values, { shape: [samples.length, height, width, channels], device });
  }
}
