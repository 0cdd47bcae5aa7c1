// The networks that sets of pictures are compared by, and how pictures are made to fit them.
import { noGrad } from '../autograd/index.js';
import { tensor } from '../creation.js';
import { defaultDevice } from '../device.js';
import { check } from '../errors.js';
import type { Pixels } from '../io/decode_image.js';
import {
  emojiCategories,
  emojiExtractorFile,
  loadEmojiExtractor,
} from '../metrics/emoji_extractor.js';
import { loadInception, resizeAsTensorFlow } from '../metrics/inception.js';
import { autocast } from '../ops/autocast.js';
import { concat, resize } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { fileHash } from './hash.js';

export const extractorNames = ['inception', 'emoji'] as const;
export type ExtractorName = (typeof extractorNames)[number];

/**
 * How a picture comes to the network's size: `tf` is bilinear as TensorFlow 1 resizes, which published FIDs rest on;
 * `clean` is bicubic with antialiasing, without rounding (Parmar et al., 2022).
 */
export const resizeNames = ['tf', 'clean'] as const;
export type ResizeName = (typeof resizeNames)[number];

export interface ExtractorOptions {
  name: ExtractorName;
  /** Of `inception`: pt_inception-2015-12-05-6726825d.pth, or its tensors as safetensors. */
  weights?: string;
  /** Default `tf` for `inception`, `clean` for `emoji`. */
  resize?: ResizeName;
  /** Pictures at once on a GPU. Default 32. A CPU always sees eight, see {@link PictureExtractor.group}. */
  batch?: number;
}

/** What a network says of some pictures, row after row. */
export interface ExtractedRows {
  /** [n, {@link PictureExtractor.width}] */
  readonly features: Float32Array;
  /** [n, {@link PictureExtractor.classes}], as the Inception score takes them */
  readonly logits: Float32Array;
}

/**
 * Pictures that a CPU's kernels see at once. Which kernel is chosen depends on the rows there are, and with it the
 * last bits of a sum: groups of one size, filled up where pictures lack, make features a function of the picture.
 */
const cpuGroup = 8;

/** A network that turns 8-bit pictures into features; dispose it after use. */
export class PictureExtractor {
  private constructor(
    /** `inception`, `emoji`, or what {@link of} was told. */
    readonly name: string,
    /** Of the features. */
    readonly width: number,
    readonly classes: number,
    /** SHA-256 of the file of weights. */
    readonly weightsHash: string,
    readonly resize: ResizeName,
    /** Pictures that {@link extract} takes best, at once. */
    readonly group: number,
    private readonly network: FeatureNetwork,
  ) {}

  /** @throws FileError when the weights are missing or of another network */
  static async open(options: ExtractorOptions): Promise<PictureExtractor> {
    const { name, weights, batch = 32 } = options;
    check(extractorNames.includes(name), () => {
      return `extractor: expected one of ${extractorNames.join(', ')}, got ${String(name)}.`;
    });
    check(name !== 'inception' || weights !== undefined, () => {
      return 'extractor: inception needs the path of its weights.';
    });
    check(name !== 'emoji' || weights === undefined, () => {
      return 'extractor: the weights of emoji come with the package; leave `weights` out.';
    });
    const { resize = name === 'inception' ? 'tf' : 'clean' } = options;
    checkResize(resize);
    const network = name === 'inception' ? await inception(weights!) : await emoji();
    const weightsHash = await fileHash(weights ?? emojiExtractorFile);
    return PictureExtractor.of(network, { name, weightsHash, resize, batch });
  }

  /**
   * An extractor of any network. Its scores compare with those of the same name, weights and resize alone.
   *
   * @param options.name what the protocol calls it
   * @param options.weightsHash SHA-256 of its weights in hexadecimal, 64 digits
   * @param options.resize default `clean`
   * @param options.batch as in {@link ExtractorOptions}
   */
  static of(
    network: FeatureNetwork,
    options: { name: string; weightsHash: string; resize?: ResizeName; batch?: number },
  ): PictureExtractor {
    const { name, weightsHash, resize = 'clean', batch = 32 } = options;
    checkResize(resize);
    check(/^[0-9a-f]{64}$/.test(weightsHash), () => {
      return `extractor: weightsHash must be a SHA-256, 64 hexadecimal digits, got '${weightsHash}'.`;
    });
    const { width, classes, side } = network;
    check(
      [width, classes, side, batch].every((n) => Number.isSafeInteger(n) && n >= 1),
      () => {
        const given = `width ${width}, classes ${classes}, side ${side}, batch ${batch}`;
        return `extractor: sizes must be whole numbers from 1 on, got ${given}.`;
      },
    );
    const group = defaultDevice().name === 'cpu' ? cpuGroup : batch;
    return new PictureExtractor(name, width, classes, weightsHash, resize, group, network);
  }

  /** Features and logits of RGB pictures of any sizes. */
  async extract(pictures: readonly Pixels[]): Promise<ExtractedRows> {
    const { group, width, classes } = this;
    const features = new Float32Array(pictures.length * width);
    const logits = new Float32Array(pictures.length * classes);
    for (let from = 0; from < pictures.length; from += group) {
      const some = pictures.slice(from, from + group);
      const filled = Array.from({ length: group }, (_, i) => some[i] ?? some[0]);
      const outputs = await tidy(async () => {
        const { features, logits } = noGrad(() =>
          autocast(false, () =>
            this.network.run(
              concat(
                filled.map((each) => this.#fit(each)),
                0,
              ),
            ),
          ),
        );
        return [await features.data(), await logits.data()] as Float32Array[];
      });
      features.set(outputs[0].subarray(0, some.length * width), from * width);
      logits.set(outputs[1].subarray(0, some.length * classes), from * classes);
    }
    return { features, logits };
  }

  // One picture as [1, side, side, 3] in [0, 255], alone, so that pictures of any sizes make a batch.
  #fit({ data, width, height }: Pixels): Tensor {
    const { side } = this.network;
    return tidy(() => {
      const x = tensor(Uint8Array.from(data), { shape: [1, height, width, 3] }).to('float32');
      if (height === side && width === side) return x;
      if (this.resize === 'tf') return resizeAsTensorFlow(x, side);
      return resize(x, { size: [side, side], mode: 'bicubic', antialias: true });
    });
  }

  dispose(): void {
    this.network.dispose();
  }
}

/** A network that sets of pictures can be compared by. */
export interface FeatureNetwork {
  /** Of the squares that pictures are resized to. */
  readonly side: number;
  /** Of the features. */
  readonly width: number;
  /** Of the logits, which the Inception score takes. */
  readonly classes: number;
  /**
   * @param pictures [N, side, side, 3] in [0, 255], float32
   * @returns [N, width] and [N, classes], float32
   */
  run(pictures: Tensor): { features: Tensor; logits: Tensor };
  dispose(): void;
}

function checkResize(resize: ResizeName): void {
  check(resizeNames.includes(resize), () => {
    return `extractor: resize must be one of ${resizeNames.join(', ')}, got ${String(resize)}.`;
  });
}

async function inception(weights: string): Promise<FeatureNetwork> {
  const network = await loadInception(weights);
  return {
    ...{ side: 299, width: 2048, classes: 1008 },
    run(pictures) {
      const { 2048: features, logits } = network.forward(pictures);
      return { features, logits };
    },
    dispose: () => network.dispose(),
  };
}

async function emoji(): Promise<FeatureNetwork> {
  const network = await loadEmojiExtractor();
  return {
    ...{ side: 64, width: 128, classes: emojiCategories.length },
    run: (pictures) => network.forward(pictures.div(127.5).sub(1)),
    dispose: () => network.dispose(),
  };
}
