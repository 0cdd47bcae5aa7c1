// Data sets as targets: our own, and what those of the original become here. Theirs name pictures that
// everybody must fetch for themselves, so each takes `data_root`, the folder they lie in.
import {
  captionCondition,
  CaptionedImages,
  type Dataset,
  type DegradationName,
  degradationNames,
  HybridConditions,
  ImageFolder,
  type ImageFolderOptions,
  ImageList,
  type LabelOptions,
  LowResolution,
  MapFolder,
  MaskedPictures,
  type MaskFamilyName,
  type MaskMixture,
  readColourMap,
  segmentation,
  TarShards,
  type TransformOptions,
} from '../data/index.js';
import { check } from '../errors.js';
import { openTokenizer } from '../ldm/index.js';
import {
  boolean,
  integer,
  list,
  mapping,
  oneOf,
  optional,
  text,
  unsupported,
  type FieldsOf,
} from './fields.js';
import {
  ownFields,
  ownTransform,
  register,
  rooted,
  rootOf,
  share,
  side,
  type ImageSetSpec,
  type OwnParams,
  type Rooted,
} from './image_sets.js';
import { masksField } from './masks.js';

export { datasetTargets, type DatasetInstance, type ImageSetSpec } from './image_sets.js';

const folder = (
  params: Rooted,
  transform: TransformOptions,
  options: Omit<ImageFolderOptions, 'classes'> = {},
): ImageSetSpec => ({
  transform,
  open: async (name, classes) =>
    ImageFolder.open(rootOf(params, name), { ...options, ...(options.labels && { classes }) }),
});

// Our own.

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

// Pictures with label maps, which lie on pixels as they are stored.

interface Maps extends Rooted, Omit<LabelOptions, 'labels'> {
  images?: string;
  maps?: string;
  /** a JSON file of labels by colour */
  colours?: string;
}

const mapFields: FieldsOf<Maps> = {
  ...rooted,
  images: optional(text),
  maps: optional(text),
  ignore: optional(integer({ min: 0, max: 255 })),
  shift: optional(integer({ min: 0, max: 255 })),
  colours: optional(text),
};

const mapped = (params: Maps, transform: TransformOptions): ImageSetSpec => ({
  transform,
  open: async (name) => MapFolder.open(rootOf(params, name), params),
  condition: async (conditioner) => {
    check(conditioner.kind === 'spatial-rescaler', () => {
      return 'label maps are for a model with a SpatialRescaler as its conditioner.';
    });
    const { ignore, shift, colours: file } = params;
    const { inChannels: labels = 3 } = conditioner;
    const colours = file === undefined ? undefined : await readColourMap(file);
    return segmentation({ labels, ignore, shift, colours, maxPixels: transform.maxPixels });
  },
});

register<OwnParams & Maps>(
  ['emulsion.data.MapFolder'],
  { ...ownFields, ...mapFields },
  ({ dataRoot, images, maps, ignore, shift, colours, ...params }) =>
    mapped(
      { dataRoot, images, maps, ignore, shift, colours },
      { orient: false, ...ownTransform(params) },
    ),
);

interface Masks {
  masks?: MaskFamilyName | MaskMixture;
  minMasked?: number;
  maxMasked?: number;
}

const maskFields: FieldsOf<Masks> = {
  masks: optional(masksField),
  min_masked: optional(share),
  max_masked: optional(share),
};

register<OwnParams & Rooted & Masks>(
  ['emulsion.data.InpaintingFolder'],
  { ...ownFields, ...rooted, ...maskFields },
  ({ dataRoot, masks, minMasked: least, maxMasked: most, ...params }) => {
    const condition = new MaskedPictures({ masks, least, most });
    return { ...folder({ dataRoot }, ownTransform(params)), condition: () => condition };
  },
);

// Both at once: pictures with holes, and what they show.

const inpaintingCaptions = (
  { masks, minMasked: least, maxMasked: most, ...params }: Captioned & Masks,
  open: (root: string) => Promise<Dataset>,
): ImageSetSpec => {
  const holes = new MaskedPictures({ masks, least, most });
  const captions = captionedSet(params, open);
  return {
    ...captions,
    async condition(conditioner) {
      const joins = conditioner.kind === 'hybrid' ? conditioner.concat.kind : 'nothing';
      check(joins === 'first-stage' || joins === 'masked-latents', () => {
        return (
          'pictures with holes and captions are for a HybridConditioner of __is_first_stage__ and an encoder of ' +
          `texts, or a LatentInpaintDiffusion; the model has a conditioner of kind ${conditioner.kind}.`
        );
      });
      return new HybridConditions(holes, await captions.condition!(conditioner));
    },
  };
};

register<Captioned & Masks>(
  ['emulsion.data.InpaintingCaptionedFolder'],
  { ...captioned, ...maskFields },
  (params) => inpaintingCaptions(params, (root) => CaptionedImages.openFolder(root)),
);
register<Captioned & Masks & { list: string }>(
  ['emulsion.data.InpaintingCaptionList'],
  { ...captioned, ...maskFields, list: text },
  ({ list: file, ...params }) =>
    inpaintingCaptions(params, (root) => CaptionedImages.openList(file, root)),
);

// Pictures beside what is left of them at a lower resolution.

interface Degraded {
  degradation?: DegradationName;
  downscaleF?: number;
}

const degraded: FieldsOf<Degraded> = {
  degradation: optional(oneOf(...degradationNames)),
  downscale_f: optional(integer({ min: 1 })),
};

function superResolution(set: ImageSetSpec, params: Degraded): ImageSetSpec {
  const { degradation, downscaleF: factor } = params;
  const source = new LowResolution({ degradation, factor });
  source.checkSide(set.transform.size);
  return { ...set, condition: () => source };
}

register<OwnParams & Rooted & Degraded>(
  ['emulsion.data.SuperResolutionFolder'],
  { ...ownFields, ...rooted, ...degraded },
  ({ dataRoot, degradation, downscaleF, ...params }) =>
    superResolution(folder({ dataRoot }, ownTransform(params)), { degradation, downscaleF }),
);

// The original's, which take pixels as they are stored.

// One picture of ImageNet's is left out there.
const ofImageNet = {
  accept: (path: string) => !path.endsWith('n06596364_9591.JPEG'),
} satisfies ImageFolderOptions;

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

  // the landscapes of semantic synthesis, whose maps have COCO-Stuff's labels
  register<Maps & { size: number; cropSize: number }>(
    [`ldm.data.landscapes.RFW${split}`],
    { ...mapFields, size: side, crop_size: side },
    ({ size: smallestSide, cropSize: size, ...params }) =>
      mapped(params, { size, smallestSide, randomCrop, orient: false }),
    ['segmentation_to_float32'],
  );

  register<Rooted & { words?: string; config: { size?: number; subIndices?: undefined } }>(
    [`ldm.data.imagenet.ImageNet${split}`],
    {
      ...rooted,
      words: optional(text),
      config: mapping<{ size?: number; subIndices?: undefined }>({
        size: optional(side),
        sub_indices: unsupported(
          'keep the folders of the classes to train on in a folder of their own',
        ),
      }),
    },
    // a class is the rank of its folder, as it is of the synset
    ({ config, words, ...params }) =>
      folder(
        params,
        { size: config.size ?? 256, randomCrop, orient: false },
        { ...ofImageNet, labels: 'folders', words },
      ),
    ['process_images'],
  );

  interface SuperResolution extends Rooted, Degraded {
    size: number;
    minCropF?: number;
    maxCropF?: number;
    randomCrop?: boolean;
  }
  register<SuperResolution>(
    [
      `ldm.data.imagenet.ImageNetSR${split}`,
      `ldm.data.openimages.SuperresOpenImagesAdvanced${split}`,
    ],
    {
      ...rooted,
      size: side,
      min_crop_f: optional(share),
      max_crop_f: optional(share),
      random_crop: optional(boolean),
      ...degraded,
    },
    (params) => {
      const { size, minCropF = 0.5, maxCropF = 1, randomCrop: anywhere = true } = params;
      const transform: TransformOptions = {
        size,
        cropFraction: [minCropF, maxCropF],
        filter: 'area',
        randomCrop: anywhere,
        orient: false,
      };
      return superResolution(folder(params, transform, ofImageNet), params);
    },
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

  // the models' files name the data of the autoencoders' code under a name of their own
  const faces = ['taming', 'ldm'].flatMap((code) =>
    ['CelebAHQ', 'FFHQ'].map((name) => `${code}.data.faceshq.${name}${split}`),
  );
  register<Rooted & { size: number }>(
    faces,
    { ...rooted, size: side },
    (params) => folder(params, { size: params.size, orient: false }),
    ['keys', 'crop_size'],
  );

  // pictures and captions that were never published: any others take their place
  register<Rooted & { tokenizer?: string; size: number }>(
    [`ldm.data.previews.pytorch_dataset.Previews${split}`],
    { ...rooted, tokenizer: optional(text), size: side },
    (params) =>
      captionedSet({ ...params, randomCrop, orient: false }, (root) =>
        CaptionedImages.openFolder(root),
      ),
  );
}
