// LPIPS, the perceptual distance of Zhang et al. (2018): how far two images lie apart in VGG's features.
import { stat } from 'node:fs/promises';
import { isGradEnabled, noGrad } from '../autograd/index.js';
import { tensor } from '../creation.js';
import { checkShape, FileError } from '../errors.js';
import { openCheckpoint } from '../io/checkpoint.js';
import type { StateReader } from '../io/state.js';
import {
  buffer,
  channelVector,
  Conv2d,
  Dropout,
  Identity,
  Module,
  Sequential,
  type FileLayout,
} from '../nn/index.js';
import { concat, div, mean, norm, square, sub } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { VggFeatures, vggLayers, vggWidths } from './vgg.js';

/** Statistics of ImageNet's pixels in [-1, 1]. */
const shift = [-0.03, -0.088, -0.188];
const scale = [0.458, 0.448, 0.45];

/** Four pools leave nothing of smaller images. */
const smallestSide = 16;

export interface LpipsOptions {
  /** Channels of VGG's five slices. Default: the published 64, 128, 256, 512, 512. */
  widths?: readonly number[];
  /**
   * Drops half of the squared differences while `training`. The original does so during the training of
   * a first stage, by an oversight: only exact parity wants it, the expected distance is the same.
   * Default false.
   */
  dropout?: boolean;
}

class ScalingLayer extends Module<[Tensor], Tensor> {
  readonly shift = buffer(tensor(shift)); // [3]
  readonly scale = buffer(tensor(scale)); // [3]

  forward(x: Tensor): Tensor {
    return div(sub(x, this.shift), this.scale);
  }

  override fileLayout(): FileLayout {
    return channelVector;
  }
}

// A learnt weight per channel: one distance per image from its mean squared differences.
class Head extends Module<[Tensor], Tensor> {
  readonly model: Sequential;

  constructor(channels: number, dropout: boolean) {
    super();
    const conv = new Conv2d(channels, 1, { kernelSize: 1, bias: false });
    this.model = new Sequential(dropout ? new Dropout(0.5) : new Identity(), conv);
  }

  /** @param differences squared, [N, H, W, C] */
  forward(differences: Tensor): Tensor {
    const [drop, weigh] = this.model;
    // The weights are the same at every pixel, so the mean over pixels can come first: far less work.
    return weigh.forward(mean(drop.forward(differences), [1, 2], { keepDims: true })); // [N, 1, 1, 1]
  }
}

/**
 * The perceptual distance of pairs of images (Zhang et al., 2018, equation 1): 0 for equal ones, about 0.7
 * for unrelated ones. Nothing in it is trained; gradients flow to both images.
 *
 * The weights come from {@link loadLpips}, or from a checkpoint of a first stage, which holds them under
 * `loss.perceptual_loss.`: `lpips.importState(withPrefix(checkpoint, 'loss.perceptual_loss.'))`.
 */
export class Lpips extends Module<[Tensor, Tensor], Tensor> {
  readonly scaling_layer = new ScalingLayer();
  readonly net: VggFeatures;
  readonly lin0: Head;
  readonly lin1: Head;
  readonly lin2: Head;
  readonly lin3: Head;
  readonly lin4: Head;

  /** Random weights: load some. */
  constructor(options: LpipsOptions = {}) {
    super();
    const { widths = vggWidths, dropout = false } = options;
    this.net = new VggFeatures(widths);
    const head = (k: number) => new Head(widths[k], dropout);
    this.lin0 = head(0);
    this.lin1 = head(1);
    this.lin2 = head(2);
    this.lin3 = head(3);
    this.lin4 = head(4);
    this.requiresGrad_(false);
  }

  /**
   * @param x images [N, H, W, 3] in [-1, 1], at least 16 by 16
   * @param y images of the same shape
   * @returns one distance per pair, [N, 1, 1, 1]
   * @throws ShapeError for images of other channels, of different shapes or too small
   */
  forward(x: Tensor, y: Tensor): Tensor {
    checkImages(x, y);
    const [a, b] = this.#both(x, y);
    const heads = [this.lin0, this.lin1, this.lin2, this.lin3, this.lin4];
    // Each map's own tidy frees what no gradient needs: the maps are large.
    return heads
      .map((head, k) => {
        return tidy(() => head.forward(square(sub(unitLength(a[k]), unitLength(b[k])))));
      })
      .reduce((sum, distance) => sum.add(distance));
  }

  /** The five feature maps of images [N, H, W, 3] in [-1, 1], before they are normalised. */
  features(x: Tensor): Tensor[] {
    return this.net.forward(this.scaling_layer.forward(x));
  }

  // One pass over both where they are treated alike. Of an image that needs no gradient, a target mostly,
  // nothing but the five maps is kept.
  #both(x: Tensor, y: Tensor): [Tensor[], Tensor[]] {
    if (!isGradEnabled() || x.requiresGrad === y.requiresGrad) {
      const pairs = this.features(concat([x, y], 0)).map((map) => map.chunk(2, 0));
      return [pairs.map(([a]) => a), pairs.map(([, b]) => b)];
    }
    const of = (image: Tensor): Tensor[] =>
      image.requiresGrad ? this.features(image) : noGrad(() => this.features(image));
    return [of(x), of(y)];
  }
}

// Features of length 1 at every pixel. The norm's gradient is 0 where all channels are 0, not NaN.
function unitLength(features: Tensor): Tensor {
  return div(features, norm(features, 3, { keepDims: true }).add(1e-10));
}

function checkImages(x: Tensor, y: Tensor): void {
  const show = (image: Tensor): string => `[${image.shape.join(', ')}]`;
  checkShape(x.rank === 4 && x.shape[3] === 3 && x.shape.join() === y.shape.join(), () => {
    return `Lpips: expected two batches of images of one shape [N, H, W, 3], got ${show(x)} and ${show(y)}`;
  });
  checkShape(Math.min(x.shape[1], x.shape[2]) >= smallestSide, () => {
    return `Lpips: images must be at least ${smallestSide}×${smallestSide}, got ${show(x)}; enlarge them`;
  });
}

/** Where the weights of {@link Lpips} lie. */
export interface LpipsFiles {
  /** torchvision's VGG16 trained on ImageNet, `vgg16-397923af.pth` (528 MB), or its tensors as safetensors. */
  vgg: string;
  /** The learnt layers, `vgg.pth` (7 kB) in `lpips/weights/v0.1` of the LPIPS repository. */
  heads: string;
}

const sources =
  'LPIPS needs two files: `vgg`, vgg16-397923af.pth from ' +
  'https://download.pytorch.org/models/vgg16-397923af.pth, and `heads`, lpips/weights/v0.1/vgg.pth from ' +
  'https://github.com/richzhang/PerceptualSimilarity.';

/**
 * LPIPS with its published weights, ready to use. Of VGG16 the convolutions are read; the classifier stays
 * in the file.
 *
 * @param options as for the constructor
 * @throws FileError that says which file is missing and where it is found, or which keys of a file are
 * missing or of another shape
 */
export async function loadLpips(files: LpipsFiles, options: LpipsOptions = {}): Promise<Lpips> {
  await checkExistence(files);
  const lpips = new Lpips(options);
  try {
    await fill(lpips, files.vgg, "torchvision's VGG16", vggKeys());
    await fill(lpips, files.heads, 'the learnt layers of LPIPS', headKeys());
  } catch (error) {
    lpips.dispose();
    throw error;
  }
  return lpips.eval();
}

async function checkExistence({ vgg, heads }: LpipsFiles): Promise<void> {
  const exists = (path: string): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    );
  const missing: string[] = [];
  for (const [name, path] of Object.entries({ vgg, heads }))
    if (!(await exists(path))) missing.push(`${name} (${path})`);
  if (missing.length === 0) return;
  const path = missing.length === 1 && missing[0].startsWith('heads') ? heads : vgg;
  throw new FileError(`does not exist. Missing: ${missing.join(', ')}. ${sources}`, path);
}

/** Our key to the file's. */
type Keys = ReadonlyMap<string, string>;

function vggKeys(): Keys {
  const entries = vggLayers.flatMap((layers, s) =>
    layers.flatMap((n) =>
      ['weight', 'bias'].map((field): [string, string] => {
        return [`net.slice${s + 1}.${n}.${field}`, `features.${n}.${field}`];
      }),
    ),
  );
  return new Map(entries);
}

function headKeys(): Keys {
  const names = vggLayers.map((_, k) => `lin${k}.model.1.weight`);
  return new Map(names.map((name) => [name, name]));
}

// Copies the part of the weights that one file holds, once all of it is known to fit.
async function fill(lpips: Lpips, path: string, what: string, keys: Keys): Promise<void> {
  const file = await openCheckpoint(path);
  try {
    const expected = lpips.exportState();
    const problems: string[] = [];
    for (const [own, name] of keys) {
      const shape = expected.get(own)!.shape.join(', ');
      const given = file.has(name) ? file.info(name).shape.join(', ') : null;
      if (given === null) problems.push(`${name} is missing`);
      else if (given !== shape) problems.push(`${name} is [${given}], expected [${shape}]`);
    }
    if (problems.length > 0)
      throw new FileError(`does not hold ${what}: ${problems.join('; ')}. ${sources}`, path);
    await lpips.importState(renamed(file, keys), { strict: false });
  } finally {
    await file.close();
  }
}

function renamed(file: StateReader, keys: Keys): StateReader {
  return {
    origin: file.origin,
    keys: [...keys.keys()],
    has: (key) => keys.has(key),
    info: (key) => file.info(keys.get(key)!),
    get: (key) => file.get(keys.get(key)!),
  };
}
