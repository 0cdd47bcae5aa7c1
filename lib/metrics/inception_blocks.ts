// The blocks of Inception-v3 (Szegedy et al., 2015) as TensorFlow runs them. Fields are the published keys.
import { BatchNorm2d, Conv2d, Module, pipe } from '../nn/index.js';
import { ones } from '../creation.js';
import { avgPool2d, concat, maxPool2d, relu } from '../ops/index.js';
import type { Tensor } from '../tensor.js';

type Layer = (x: Tensor) => Tensor;

export interface BasicConvOptions {
  /** Side of the kernel, or [height, width]. */
  kernel: number | readonly [number, number];
  /** Default 1. */
  stride?: number;
  /** Whether zeros around the picture keep its size. Default: where the stride is 1. */
  padded?: boolean;
}

/** Convolution without a bias, batch norm, ReLU. */
export class BasicConv2d extends Module<[Tensor], Tensor> {
  readonly conv: Conv2d;
  readonly bn: BatchNorm2d;

  constructor(inChannels: number, outChannels: number, options: BasicConvOptions) {
    super();
    const { kernel, stride = 1, padded = stride === 1 } = options;
    const kernelSize = typeof kernel === 'number' ? ([kernel, kernel] as const) : kernel;
    const [vertical, horizontal] = kernelSize.map((side) => (padded ? (side - 1) / 2 : 0));
    const padding = [vertical, horizontal] as const;
    this.conv = new Conv2d(inChannels, outChannels, { kernelSize, stride, padding, bias: false });
    this.bn = new BatchNorm2d(outChannels, { eps: 1e-3 });
  }

  forward(x: Tensor): Tensor {
    return pipe(x, [(h) => this.conv.forward(h), (h) => this.bn.forward(h), relu]);
  }
}

/** Mean over 3 by 3 pixels, those outside of the picture not counted. */
export function averageInside(x: Tensor): Tensor {
  const window = { kernel: 3, stride: 1, padding: 1 };
  const [, H, W] = x.shape;
  const share = avgPool2d(ones([1, H, W, 1], { dtype: x.dtype, device: x.device }), window);
  return avgPool2d(x, window).div(share);
}

const largestInside: Layer = (x) => maxPool2d(x, { kernel: 3, stride: 1, padding: 1 });
const shrink: Layer = (x) => maxPool2d(x, { kernel: 3, stride: 2 });

const through =
  (...layers: readonly BasicConv2d[]): Layer =>
  (x) =>
    pipe(
      x,
      layers.map((layer) => (h: Tensor) => layer.forward(h)),
    );

/** Branches side by side on the channels. */
const beside =
  (...branches: readonly Layer[]): Layer =>
  (x) =>
    concat(
      branches.map((branch) => branch(x)),
      3,
    );

/** 35 by 35 pixels: `inChannels` to 224 + `poolChannels`. */
export class InceptionA extends Module<[Tensor], Tensor> {
  readonly branch1x1: BasicConv2d;
  readonly branch5x5_1: BasicConv2d;
  readonly branch5x5_2 = new BasicConv2d(48, 64, { kernel: 5 });
  readonly branch3x3dbl_1: BasicConv2d;
  readonly branch3x3dbl_2 = new BasicConv2d(64, 96, { kernel: 3 });
  readonly branch3x3dbl_3 = new BasicConv2d(96, 96, { kernel: 3 });
  readonly branch_pool: BasicConv2d;

  constructor(inChannels: number, poolChannels: number) {
    super();
    this.branch1x1 = new BasicConv2d(inChannels, 64, { kernel: 1 });
    this.branch5x5_1 = new BasicConv2d(inChannels, 48, { kernel: 1 });
    this.branch3x3dbl_1 = new BasicConv2d(inChannels, 64, { kernel: 1 });
    this.branch_pool = new BasicConv2d(inChannels, poolChannels, { kernel: 1 });
  }

  forward(x: Tensor): Tensor {
    return beside(
      through(this.branch1x1),
      through(this.branch5x5_1, this.branch5x5_2),
      through(this.branch3x3dbl_1, this.branch3x3dbl_2, this.branch3x3dbl_3),
      (h) => this.branch_pool.forward(averageInside(h)),
    )(x);
  }
}

/** 35 to 17 pixels a side: `inChannels` to 480 + `inChannels`. */
export class InceptionB extends Module<[Tensor], Tensor> {
  readonly branch3x3: BasicConv2d;
  readonly branch3x3dbl_1: BasicConv2d;
  readonly branch3x3dbl_2 = new BasicConv2d(64, 96, { kernel: 3 });
  readonly branch3x3dbl_3 = new BasicConv2d(96, 96, { kernel: 3, stride: 2 });

  constructor(inChannels: number) {
    super();
    this.branch3x3 = new BasicConv2d(inChannels, 384, { kernel: 3, stride: 2 });
    this.branch3x3dbl_1 = new BasicConv2d(inChannels, 64, { kernel: 1 });
  }

  forward(x: Tensor): Tensor {
    return beside(
      through(this.branch3x3),
      through(this.branch3x3dbl_1, this.branch3x3dbl_2, this.branch3x3dbl_3),
      shrink,
    )(x);
  }
}

const vertical = { kernel: [7, 1] } as const;
const horizontal = { kernel: [1, 7] } as const;

/** 17 by 17 pixels, 768 channels in and out; `width` channels between kernels of 7. */
export class InceptionC extends Module<[Tensor], Tensor> {
  readonly branch1x1 = new BasicConv2d(768, 192, { kernel: 1 });
  readonly branch7x7_1: BasicConv2d;
  readonly branch7x7_2: BasicConv2d;
  readonly branch7x7_3: BasicConv2d;
  readonly branch7x7dbl_1: BasicConv2d;
  readonly branch7x7dbl_2: BasicConv2d;
  readonly branch7x7dbl_3: BasicConv2d;
  readonly branch7x7dbl_4: BasicConv2d;
  readonly branch7x7dbl_5: BasicConv2d;
  readonly branch_pool = new BasicConv2d(768, 192, { kernel: 1 });

  constructor(width: number) {
    super();
    this.branch7x7_1 = new BasicConv2d(768, width, { kernel: 1 });
    this.branch7x7_2 = new BasicConv2d(width, width, horizontal);
    this.branch7x7_3 = new BasicConv2d(width, 192, vertical);
    this.branch7x7dbl_1 = new BasicConv2d(768, width, { kernel: 1 });
    this.branch7x7dbl_2 = new BasicConv2d(width, width, vertical);
    this.branch7x7dbl_3 = new BasicConv2d(width, width, horizontal);
    this.branch7x7dbl_4 = new BasicConv2d(width, width, vertical);
    this.branch7x7dbl_5 = new BasicConv2d(width, 192, horizontal);
  }

  forward(x: Tensor): Tensor {
    return beside(
      through(this.branch1x1),
      through(this.branch7x7_1, this.branch7x7_2, this.branch7x7_3),
      through(
        this.branch7x7dbl_1,
        this.branch7x7dbl_2,
        this.branch7x7dbl_3,
        this.branch7x7dbl_4,
        this.branch7x7dbl_5,
      ),
      (h) => this.branch_pool.forward(averageInside(h)),
    )(x);
  }
}

/** 17 to 8 pixels a side: 768 to 1280 channels. */
export class InceptionD extends Module<[Tensor], Tensor> {
  readonly branch3x3_1 = new BasicConv2d(768, 192, { kernel: 1 });
  readonly branch3x3_2 = new BasicConv2d(192, 320, { kernel: 3, stride: 2 });
  readonly branch7x7x3_1 = new BasicConv2d(768, 192, { kernel: 1 });
  readonly branch7x7x3_2 = new BasicConv2d(192, 192, horizontal);
  readonly branch7x7x3_3 = new BasicConv2d(192, 192, vertical);
  readonly branch7x7x3_4 = new BasicConv2d(192, 192, { kernel: 3, stride: 2 });

  forward(x: Tensor): Tensor {
    return beside(
      through(this.branch3x3_1, this.branch3x3_2),
      through(this.branch7x7x3_1, this.branch7x7x3_2, this.branch7x7x3_3, this.branch7x7x3_4),
      shrink,
    )(x);
  }
}

/**
 * 8 by 8 pixels, to 2048 channels. The network's last block takes the largest neighbour where the others
 * take the mean: TensorFlow's graph of 2015 has it so, and every published FID with it.
 */
export class InceptionE extends Module<[Tensor], Tensor> {
  readonly branch1x1: BasicConv2d;
  readonly branch3x3_1: BasicConv2d;
  readonly branch3x3_2a = new BasicConv2d(384, 384, { kernel: [1, 3] });
  readonly branch3x3_2b = new BasicConv2d(384, 384, { kernel: [3, 1] });
  readonly branch3x3dbl_1: BasicConv2d;
  readonly branch3x3dbl_2 = new BasicConv2d(448, 384, { kernel: 3 });
  readonly branch3x3dbl_3a = new BasicConv2d(384, 384, { kernel: [1, 3] });
  readonly branch3x3dbl_3b = new BasicConv2d(384, 384, { kernel: [3, 1] });
  readonly branch_pool: BasicConv2d;
  readonly #pool: Layer;

  constructor(inChannels: number, pool: 'mean' | 'max') {
    super();
    this.branch1x1 = new BasicConv2d(inChannels, 320, { kernel: 1 });
    this.branch3x3_1 = new BasicConv2d(inChannels, 384, { kernel: 1 });
    this.branch3x3dbl_1 = new BasicConv2d(inChannels, 448, { kernel: 1 });
    this.branch_pool = new BasicConv2d(inChannels, 192, { kernel: 1 });
    this.#pool = pool === 'mean' ? averageInside : largestInside;
  }

  forward(x: Tensor): Tensor {
    const both = (a: BasicConv2d, b: BasicConv2d) => beside(through(a), through(b));
    const double = through(this.branch3x3dbl_1, this.branch3x3dbl_2);
    return beside(
      through(this.branch1x1),
      (h) => both(this.branch3x3_2a, this.branch3x3_2b)(this.branch3x3_1.forward(h)),
      (h) => both(this.branch3x3dbl_3a, this.branch3x3dbl_3b)(double(h)),
      (h) => this.branch_pool.forward(this.#pool(h)),
    )(x);
  }
}
