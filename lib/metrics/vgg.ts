// VGG16 as LPIPS uses it: the 13 convolutions, read at five places (Simonyan and Zisserman, 2014).
import { check } from '../errors.js';
import { Conv2d, Module, pipe } from '../nn/index.js';
import { maxPool2d, relu } from '../ops/index.js';
import type { Tensor } from '../tensor.js';

/** Widths of the five slices of the published network. */
export const vggWidths: readonly number[] = [64, 128, 256, 512, 512];

/** torchvision's numbers of the convolutions in each slice; those between are ReLUs and pools. */
export const vggLayers: readonly (readonly number[])[] = [
  [0, 2],
  [5, 7],
  [10, 12, 14],
  [17, 19, 21],
  [24, 26, 28],
];

// Convolutions of one resolution under torchvision's numbers; every slice but the first halves the picture.
class Slice extends Module<[Tensor], Tensor> {
  readonly [layer: number]: Conv2d;
  readonly #layers: readonly number[];

  constructor(layers: readonly number[], inChannels: number, width: number) {
    super();
    this.#layers = layers;
    layers.forEach((layer, i) => {
      const conv = new Conv2d(i === 0 ? inChannels : width, width, { kernelSize: 3, padding: 1 });
      (this as Record<number, Conv2d>)[layer] = conv;
    });
  }

  forward(x: Tensor): Tensor {
    const pool = this.#layers[0] > 0 ? [(h: Tensor) => maxPool2d(h, { kernel: 2 })] : [];
    const convs = this.#layers.flatMap((layer) => [(h: Tensor) => this[layer].forward(h), relu]);
    return pipe(x, [...pool, ...convs]);
  }
}

/**
 * Normalised images [N, H, W, 3] to the five feature maps relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3,
 * of sides H, H/2, H/4, H/8 and H/16. Frozen; gradients reach the images.
 */
export class VggFeatures extends Module<[Tensor], Tensor[]> {
  readonly slice1: Slice;
  readonly slice2: Slice;
  readonly slice3: Slice;
  readonly slice4: Slice;
  readonly slice5: Slice;

  /** @param widths channels of the five feature maps */
  constructor(widths: readonly number[] = vggWidths) {
    super();
    check(widths.length === 5, () => `VggFeatures: expected five widths, got ${widths.length}`);
    const slice = (s: number) => new Slice(vggLayers[s], s === 0 ? 3 : widths[s - 1], widths[s]);
    this.slice1 = slice(0);
    this.slice2 = slice(1);
    this.slice3 = slice(2);
    this.slice4 = slice(3);
    this.slice5 = slice(4);
    this.requiresGrad_(false);
  }

  forward(x: Tensor): Tensor[] {
    const taps: Tensor[] = [];
    let h = x;
    for (const slice of [this.slice1, this.slice2, this.slice3, this.slice4, this.slice5]) {
      h = slice.forward(h);
      taps.push(h);
    }
    return taps;
  }
}
