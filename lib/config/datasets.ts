// Data sets as targets: our own, and what those of the original become here. Theirs name pictures that
// everybody must fetch for themselves, so each takes `data_root`, the folder they lie in.
import {
  captionCondition,
  CaptionedImages,
  ImageFolder,
  ImageList,
  MaskedPictures,
  TarShards,
  type ConditionSource,
  type Dataset,
  type ImageFolderOptions,
  type MaskFamilyName,
  type MaskMixture,
  type ResizeFilter,
  type TransformOptions,
} from '../data/index.js';
import { checkTransform } from '../data/transform.js';
import { check } from '../errors.js';
import { openTokenizer, type ConditionerSpec } from '../ldm/index.js';
import { ConfigError } from './error.js';
import {
  boolean,
  integer,
  list,
  mapping,
  number,
  oneOf,
  optional,
  text,
  type FieldsOf,
} from './fields.js';
import { masksField } from './masks.js';
import { Targets, type Instance } from './targets.js';

/** Which pictures, and what becomes of them. */
export interface ImageSetSpec {
  readonly transform: TransformOptions;
  /** Lists the pictures. @param name what errors call the data set */
  open(name: string): Promise<Dataset>;
  /** What its pictures are conditioned on, for a model with this conditioner, which takes more than classes. */
  condition?(conditioner: ConditionerSpec): Promise<ConditionSource> | ConditionSource;
}

export type DatasetInstance = Instance<ImageSetSpec, Promise<Dataset>, []>;

/** What may stand as `train` or `validation` of a data module. */
export const datasetTargets = new Targets<ImageSetSpec, Promise<Dataset>>('a data set');

function register<P extends object>(
  names: readonly string[],
  fields: FieldsOf<P>,
  toSpec: (params: P) => ImageSetSpec,
  accepted: readonly string[] = [],
): void {
  const params = mapping<P>(fields, accepted);
  datasetTargets.register(names, {
    params: {
      read(node, name) {
        const read = params.read(node, name);
        try {
          const spec = toSpec(read);
          checkTransform(spec.transform);
          return spec;
        } catch (error) {
          // What the transform refuses is told with its place as well, and before anything is built.
          throw new ConfigError((error as Error).message, node.place, { cause: error });
        }
      },
    },
    build: (spec) => spec.open(names[0]),
  });
}

interface Rooted {
  dataRoot?: string;
}

const side = integer({ min: 1 });
const share = number({ min: 0, max: 1 });
const rooted: FieldsOf<Rooted> = { data_root: optional(text) };

function rootOf({ dataRoot }: Rooted, name: string): string {
  check(dataRoot, () => {
    return (
      `${name}: say where the pictures are, with data_root in its params; on the command line, ` +
      'data.params.train.params.data_root=FOLDER.'
    );
  });
  return dataRoot;
}

const folder = (
  params: Rooted,
  transform: TransformOptions,
  classes: Pick<ImageFolderOptions, 'labels' | 'words'> = {},
): ImageSetSpec => ({
  transform,
  open: async (name) => ImageFolder.open(rootOf(params, name), classes),
});

// Our own: everything that the transform can do.

interface OwnParams extends Omit<TransformOptions, 'smallestSide' | 'cropFraction' | 'channels'> {
  smallestSide?: number;
  minCropFraction?: number;
  maxCropFraction?: number;
}

const ownFields: FieldsOf<OwnParams> = {
  size: side,
  smallest_side: optional(side),
  min_crop_fraction: optional(share),
  max_crop_fraction: optional(share),
  filter: optional(oneOf<ResizeFilter>('linear', 'area', 'box', 'bilinear', 'bicubic', 'lanczos')),
  random_crop: optional(boolean),
  flip: optional(share),
  background: optional(text),
  orient: optional(boolean),
  max_pixels: optional(side),
};

function ownTransform(params: OwnParams): TransformOptions {
  const { minCropFraction: min, maxCropFraction: max, ...options } = params;
  check(min !== undefined || max === undefined, () => {
    return `max_crop_fraction needs min_crop_fraction: give both, got ${max} alone.`;
  });
  return min === undefined ? options : { ...options, cropFraction: [min, max ?? 1] };
}

register<OwnParams & Rooted & { labels?: 'folders'; words?: string }>(
  ['emulsion.data.ImageFolder'],
  { ...ownFields, ...rooted, labels: optional(oneOf('folders')), words: optional(text) },
  ({ dataRoot, labels, words, ...params }) =>
    folder({ dataRoot }, ownTransform(params), { labels, words }),
);
register<OwnParams & Rooted & { list: string }>(
  ['emulsion.data.ImageList'],
  { ...ownFields, ...rooted, list: text },
  ({ dataRoot, list: file, ...params }) => ({
    transform: ownTransform(params),
    open: async (name) => ImageList.open(file, rootOf({ dataRoot }, name)),
  }),
);
register<OwnParams & { shards: string[] }>(
  ['emulsion.data.TarShards'],
  { ...ownFields, shards: list(text) },
  ({ shards, ...params }) => ({
    transform: ownTransform(params),
    open: () => TarShards.open(shards),
  }),
);

interface Captioned extends OwnParams, Rooted {
  tokenizer?: string;
}
const captioned: FieldsOf<Captioned> = { ...ownFields, ...rooted, tokenizer: optional(text) };

function captionedSet(
  { dataRoot, tokenizer, ...params }: Captioned,
  open: (root: string) => Promise<Dataset>,
): ImageSetSpec {
  return {
    transform: ownTransform(params),
    open: async (name) => open(rootOf({ dataRoot }, name)),
    async condition(conditioner) {
      check(tokenizer, () => {
        return (
          'captions need a tokenizer: name its files, such as vocab.txt of bert-base-uncased, with tokenizer in the ' +
          "data set's params."
        );
      });
      return captionCondition(await openTokenizer(tokenizer, conditioner, { warn: onceOnly() }));
    },
  };
}

// Among a million captions some are always too long.
function onceOnly(): (message: string) => void {
  let told = false;
  return (message) => {
    if (!told) console.warn(`${message} Others like it are not told of.`);
    told = true;
  };
}

register<Captioned>(['emulsion.data.CaptionedFolder'], captioned, (params) =>
  captionedSet(params, (root) => CaptionedImages.openFolder(root)),
);
register<Captioned & { list: string }>(
  ['emulsion.data.CaptionList'],
  { ...captioned, list: text },
  ({ list: file, ...params }) =>
    captionedSet(params, (root) => CaptionedImages.openList(file, root)),
);

interface Masks {
  masks?: MaskFamilyName | MaskMixture;
  minMasked?: number;
  maxMasked?: number;
}

register<OwnParams & Rooted & Masks>(
  ['emulsion.data.InpaintingFolder'],
  {
    ...ownFields,
    ...rooted,
    masks: optional(masksField),
    min_masked: optional(share),
    max_masked: optional(share),
  },
  ({ dataRoot, masks, minMasked: least, maxMasked: most, ...params }) => {
    const condition = new MaskedPictures({ masks, least, most });
    return { ...folder({ dataRoot }, ownTransform(params)), condition: () => condition };
  },
);

// The original's, which take pixels as they are stored.

for (const training of [true, false]) {
  const split = training ? 'Train' : 'Validation';
  const randomCrop = training;

  register<Rooted & { size?: number; cropSize: number }>(
    [`ldm.data.openimages.FullOpenImages${split}`],
    { ...rooted, size: optional(side), crop_size: side },
    (params) => {
      const { size: smallestSide = null, cropSize: size } = params;
      return folder(params, { size, smallestSide, randomCrop, orient: false });
    },
  );

  register<Rooted & { words?: string; config: { size?: number } }>(
    [`ldm.data.imagenet.ImageNet${split}`],
    {
      ...rooted,
      words: optional(text),
      config: mapping<{ size?: number }>({ size: optional(side) }, ['sub_indices']),
    },
    // a class is the rank of its folder, as it is of the synset
    ({ config, words, ...params }) =>
      folder(
        params,
        { size: config.size ?? 256, randomCrop, orient: false },
        { labels: 'folders', words },
      ),
    ['process_images'],
  );

  interface SuperResolution extends Rooted {
    size: number;
    minCropF?: number;
    maxCropF?: number;
    randomCrop?: boolean;
  }
  register<SuperResolution>(
    [`ldm.data.imagenet.ImageNetSR${split}`],
    {
      ...rooted,
      size: side,
      min_crop_f: optional(share),
      max_crop_f: optional(share),
      random_crop: optional(boolean),
    },
    (params) => {
      const { size, minCropF = 0.5, maxCropF = 1, randomCrop: anywhere = true } = params;
      return folder(params, {
        size,
        cropFraction: [minCropF, maxCropF],
        filter: 'area',
        randomCrop: anywhere,
        orient: false,
      });
    },
    // the small picture beside the image, which a first stage does not look at
    ['degradation', 'downscale_f'],
  );

  interface Lsun extends Rooted {
    size: number;
    interpolation?: 'bilinear' | 'bicubic' | 'lanczos';
    flipP?: number;
  }
  register<Lsun>(
    ['Churches', 'Bedrooms', 'Cats'].map((name) => `ldm.data.lsun.LSUN${name}${split}`),
    {
      ...rooted,
      size: side,
      interpolation: optional(oneOf('bilinear', 'bicubic', 'lanczos')),
      flip_p: optional(share),
    },
    (params) => {
      const { size, interpolation: filter = 'bicubic', flipP: flip = training ? 0.5 : 0 } = params;
      return folder(params, { size, cropFraction: [1, 1], filter, flip, orient: false });
    },
  );

  register<Rooted & { size: number }>(
    ['CelebAHQ', 'FFHQ'].map((name) => `taming.data.faceshq.${name}${split}`),
    { ...rooted, size: side },
    (params) => folder(params, { size: params.size, orient: false }),
    ['keys', 'crop_size'],
  );
}
