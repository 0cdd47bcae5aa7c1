// Inception-v3 as FID uses it: TensorFlow's graph of 5 December 2015 with its 1008 classes, in PyTorch's port.
import { stat } from 'node:fs/promises';
import { noGrad } from '../autograd/index.js';
import { checkTensors } from '../checks.js';
import { tensor } from '../creation.js';
import { isFloating } from '../dtype.js';
import { checkShape, DTypeError, FileError } from '../errors.js';
import { openCheckpoint } from '../io/checkpoint.js';
import { Linear, Module, pipe } from '../nn/index.js';
import { autocast } from '../ops/autocast.js';
import { indexSelect, matmul, maxPool2d } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import {
  BasicConv2d,
  InceptionA,
  InceptionB,
  InceptionC,
  InceptionD,
  InceptionE,
} from './inception_blocks.js';

/** The side that pictures are resized to. */
const side = 299;

/** What the network says of pictures: features by their width, averaged over the pixels, and logits. */
export interface InceptionOutputs {
  /** [N, 64] and [N, 192], behind the first two pools. */
  readonly 64: Tensor;
  readonly 192: Tensor;
  /** [N, 768], in front of the auxiliary classifier that the port leaves out. */
  readonly 768: Tensor;
  /** [N, 2048]: the features of FID, KID, precision and recall. */
  readonly 2048: Tensor;
  /** [N, 1008] without the bias, as the Inception score takes them. */
  readonly logits: Tensor;
}

const pool = (x: Tensor): Tensor => maxPool2d(x, { kernel: 3, stride: 2 });

/**
 * The network of FID. Its numbers are comparable with published ones only with the published weights, see
 * {@link loadInception}. Always in evaluation mode; nothing in it is trained.
 */
export class InceptionV3 extends Module<[Tensor], InceptionOutputs> {
  readonly Conv2d_1a_3x3 = new BasicConv2d(3, 32, { kernel: 3, stride: 2 });
  readonly Conv2d_2a_3x3 = new BasicConv2d(32, 32, { kernel: 3, padded: false });
  readonly Conv2d_2b_3x3 = new BasicConv2d(32, 64, { kernel: 3 });
  readonly Conv2d_3b_1x1 = new BasicConv2d(64, 80, { kernel: 1 });
  readonly Conv2d_4a_3x3 = new BasicConv2d(80, 192, { kernel: 3, padded: false });
  readonly Mixed_5b = new InceptionA(192, 32);
  readonly Mixed_5c = new InceptionA(256, 64);
  readonly Mixed_5d = new InceptionA(288, 64);
  readonly Mixed_6a = new InceptionB(288);
  readonly Mixed_6b = new InceptionC(128);
  readonly Mixed_6c = new InceptionC(160);
  readonly Mixed_6d = new InceptionC(160);
  readonly Mixed_6e = new InceptionC(192);
  readonly Mixed_7a = new InceptionD();
  readonly Mixed_7b = new InceptionE(1280, 'mean');
  readonly Mixed_7c = new InceptionE(2048, 'max');
  readonly fc = new Linear(2048, 1008);

  /** Random weights: load some. */
  constructor() {
    super();
    this.requiresGrad_(false);
    this.eval();
  }

  /**
   * @param pictures [N, H, W, 3], uint8, of any size; or [N, 299, 299, 3] in [0, 255], floating, where another
   *   resize than TensorFlow's is wanted, as "clean" FID does (Parmar et al., 2022)
   * @throws DTypeError for other pictures: 8 bits are what published numbers were measured on
   */
  forward(pictures: Tensor): InceptionOutputs {
    checkTensors('InceptionV3', { pictures });
    const atSize = pictures.shape[1] === side && pictures.shape[2] === side;
    if (pictures.dtype !== 'uint8' && !(isFloating(pictures.dtype) && atSize))
      throw new DTypeError(
        `InceptionV3: pictures must be uint8, as 8-bit files hold them, or be resized to ${side} x ${side}. Got ${pictures.describe()}`,
      );
    checkShape(pictures.rank === 4 && pictures.shape[3] === 3, () => {
      return `InceptionV3: expected pictures [N, H, W, 3], got [${pictures.shape.join(', ')}]`;
    });
    return noGrad(() =>
      autocast(false, () => tidy(() => this.#run(pictures.to(this.fc.weight.dtype)))),
    );
  }

  #run(pictures: Tensor): InceptionOutputs {
    const average = (x: Tensor): Tensor => x.mean([1, 2]);
    const run = (x: Tensor, ...layers: readonly Module<[Tensor], Tensor>[]): Tensor =>
      pipe(
        x,
        layers.map((layer) => (h: Tensor) => layer.forward(h)),
      );
    const x = resizeAsTensorFlow(pictures, side).sub(128).div(128); // [N, 299, 299, 3]
    const stem = pool(run(x, this.Conv2d_1a_3x3, this.Conv2d_2a_3x3, this.Conv2d_2b_3x3)); // 73²
    const low = pool(run(stem, this.Conv2d_3b_1x1, this.Conv2d_4a_3x3)); // 35²
    const { Mixed_6a, Mixed_6b, Mixed_6c, Mixed_6d, Mixed_6e } = this;
    const middle = run(
      run(low, this.Mixed_5b, this.Mixed_5c, this.Mixed_5d),
      ...[Mixed_6a, Mixed_6b, Mixed_6c, Mixed_6d, Mixed_6e],
    ); // 17²
    const features = average(run(middle, this.Mixed_7a, this.Mixed_7b, this.Mixed_7c));
    return {
      64: average(stem),
      192: average(low),
      768: average(middle),
      2048: features,
      logits: matmul(features, this.fc.weight, { transposeB: true }),
    };
  }
}

/**
 * Bilinear as TensorFlow 1 resizes: pixel i of the result lies at i · in / out, so that the first pixels meet and
 * the picture moves by up to half a pixel; no smoothing when it shrinks. Positions are computed in float32.
 *
 * @param x [N, H, W, C], floating
 * @returns [N, size, size, C]
 */
export function resizeAsTensorFlow(x: Tensor, size: number): Tensor {
  return tidy(() => stretch(stretch(x, 2, size), 1, size));
}

function stretch(x: Tensor, axis: 1 | 2, size: number): Tensor {
  const extent = x.shape[axis];
  const scale = Math.fround(extent / size);
  const positions = Array.from({ length: size }, (_, i) => Math.fround(i * scale));
  const below = positions.map((position) => Math.min(Math.floor(position), extent - 1));
  const above = below.map((index) => Math.min(index + 1, extent - 1));
  const at = (indices: readonly number[]): Tensor =>
    indexSelect(x, axis, tensor(Int32Array.from(indices), { device: x.device }));
  const shape = axis === 1 ? [size, 1, 1] : [size, 1];
  const weights = Float32Array.from(positions, (position, i) => position - below[i]);
  const fraction = tensor(weights, { shape, dtype: x.dtype, device: x.device });
  const start = at(below);
  return start.add(at(above).sub(start).mul(fraction));
}

const source =
  'The network of FID is in pt_inception-2015-12-05-6726825d.pth (91 MB) from ' +
  'https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights.';

/**
 * The network with the weights of a file, ready to use: pt_inception-2015-12-05-6726825d.pth as pytorch-fid
 * and torch-fidelity publish it, or its tensors as safetensors.
 *
 * @throws FileError that says which file is missing and where it is found, or which keys of a file are
 * missing or of another shape: torchvision's own Inception-v3 is another network
 */
export async function loadInception(path: string): Promise<InceptionV3> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) throw new FileError(`does not exist. ${source}`, path);
  const file = await openCheckpoint(path);
  const network = new InceptionV3();
  try {
    const problems: string[] = [];
    for (const [key, { shape }] of network.exportState()) {
      if (key.endsWith('.num_batches_tracked')) continue; // counts batches of training; not every copy has it
      const given = file.has(key) ? file.info(key).shape.join(', ') : null;
      if (given === null) problems.push(`${key} is missing`);
      else if (given !== shape.join(', '))
        problems.push(`${key} is [${given}], expected [${shape.join(', ')}]`);
    }
    if (problems.length > 0) {
      const some = problems.slice(0, 3).join('; ');
      const more = problems.length > 3 ? ` and ${problems.length - 3} more` : '';
      throw new FileError(`is not the network of FID: ${some}${more}. ${source}`, path);
    }
    await network.importState(file, { strict: false });
    return network;
  } catch (error) {
    network.dispose();
    throw error;
  } finally {
    await file.close();
  }
}
