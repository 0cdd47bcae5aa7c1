// Data sets of pictures with boxes as targets, and their boxes as the tokens that a model is conditioned on.
import { join } from 'node:path';
import {
  AnnotatedImages,
  LayoutConditions,
  type AnnotationOptions,
  type TransformOptions,
} from '../data/index.js';
import { check } from '../errors.js';
import { LayoutTokens, type ConditionerSpec } from '../ldm/index.js';
import {
  boolean,
  integer,
  list,
  oneOf,
  optional,
  text,
  texts,
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

/** Which objects are taken, and how they become tokens: under the original's names where it has them. */
interface ObjectParams {
  minObjectArea?: number;
  minObjectsPerImage?: number;
  maxObjectsPerImage?: number;
  only?: string[];
  without?: string[];
  merge?: Record<string, string>;
  crowds?: 'plain' | 'group' | 'skip';
  noTokens?: number;
  encodeCrop?: boolean;
  useGroupParameter?: boolean;
  useAdditionalParameters?: boolean;
}

const objectFields: FieldsOf<ObjectParams> = {
  min_object_area: optional(share),
  min_objects_per_image: optional(integer({ min: 0 })),
  max_objects_per_image: optional(side),
  only: optional(list(text)),
  without: optional(list(text)),
  merge: optional(texts),
  crowds: optional(oneOf('plain', 'group', 'skip')),
  no_tokens: optional(integer({ min: 5 })),
  encode_crop: optional(boolean),
  use_group_parameter: optional(boolean),
  use_additional_parameters: optional(boolean),
};

const annotationOptions = (params: ObjectParams): AnnotationOptions => ({
  minObjectArea: params.minObjectArea,
  minObjects: params.minObjectsPerImage,
  maxObjects: params.maxObjectsPerImage,
  only: params.only,
  without: params.without,
  merge: params.merge,
  crowds: params.crowds,
});

// The annotations are read once, for the pictures and for what they are conditioned on.
function objectSet(
  params: ObjectParams,
  transform: TransformOptions,
  open: (options: AnnotationOptions) => Promise<AnnotatedImages>,
): ImageSetSpec {
  let opened: Promise<AnnotatedImages> | undefined;
  const images = () => (opened ??= open(annotationOptions(params)));
  return {
    transform,
    // An async function, so that what `open` refuses at once is a rejection like any other.
    open: async () => images(),
    condition: async (conditioner) => {
      const { categories } = await images();
      const tokens = new LayoutTokens({
        categories: categories.length,
        vocabSize: params.noTokens,
        maxObjects: params.maxObjectsPerImage,
        encodeCrop: params.encodeCrop,
        groupParameter: params.useGroupParameter,
        additionalParameters: params.useAdditionalParameters,
      });
      checkTakes(conditioner, tokens);
      const names = categories.map(({ name }) => name);
      return new LayoutConditions(tokens, names);
    },
  };
}

// Ids that an embedder lacks would be told much later, and without their cause.
function checkTakes(conditioner: ConditionerSpec, { length, none }: LayoutTokens): void {
  check(conditioner.kind === 'bert' && conditioner.useTokenizer === false, () => {
    return (
      'boxes are tokens for a BERTEmbedder with use_tokenizer: false; the model has a conditioner of kind ' +
      `${conditioner.kind}${conditioner.kind === 'bert' ? ' for captions' : ''}.`
    );
  });
  const { vocabSize = 30_522, maxSeqLen = 77 } = conditioner;
  check(maxSeqLen === length && vocabSize > none, () => {
    return (
      `the layouts have ${length} tokens of ${none + 1}, and the model's embedder takes ${maxSeqLen} of ${vocabSize}: ` +
      'set its max_seq_len and vocab_size, or max_objects_per_image, encode_crop and no_tokens of the data.'
    );
  });
}

// Our own.

register<OwnParams & Rooted & ObjectParams & { annotations: string[] }>(
  ['emulsion.data.CocoObjects'],
  { ...ownFields, ...rooted, ...objectFields, annotations: list(text) },
  ({ dataRoot, annotations, ...params }) => {
    const [objects, rest] = apart(params);
    return objectSet(objects, ownTransform(rest), (options) =>
      AnnotatedImages.openCoco(annotations, rootOf({ dataRoot }, 'CocoObjects'), options),
    );
  },
);
register<OwnParams & Rooted & ObjectParams & { boxes: string; classes: string }>(
  ['emulsion.data.OpenImagesObjects'],
  { ...ownFields, ...rooted, ...objectFields, boxes: text, classes: text },
  ({ dataRoot, boxes, classes, ...params }) => {
    const [objects, rest] = apart(params);
    return objectSet(objects, ownTransform(rest), (options) =>
      AnnotatedImages.openOpenImages(
        { boxes, classes },
        rootOf({ dataRoot }, 'OpenImagesObjects'),
        options,
      ),
    );
  },
);

// What belongs to the objects, and what to the transform.
function apart<P extends ObjectParams>({
  minObjectArea,
  minObjectsPerImage,
  maxObjectsPerImage,
  only,
  without,
  merge,
  crowds,
  noTokens,
  encodeCrop,
  useGroupParameter,
  useAdditionalParameters,
  ...rest
}: P): [ObjectParams, Omit<P, keyof ObjectParams>] {
  const objects = {
    ...{ minObjectArea, minObjectsPerImage, maxObjectsPerImage, only, without, merge, crowds },
    ...{ noTokens, encodeCrop, useGroupParameter, useAdditionalParameters },
  };
  return [objects, rest];
}

// The original's: a folder with all of a data set in it.

type CropMethod = 'center' | 'random-1d' | 'random-2d';

interface ScenesParams extends Rooted, ObjectParams {
  dataPath?: string;
  split: 'train' | 'validation' | 'test';
  targetImageSize: number;
  cropMethod?: CropMethod;
  randomFlip?: boolean;
}

const cropMethod = oneOf<CropMethod>('center', 'random-1d', 'random-2d');

const scenesFields: FieldsOf<ScenesParams> = {
  ...rooted,
  ...objectFields,
  data_path: optional(text),
  split: oneOf('train', 'validation', 'test'),
  target_image_size: side,
  crop_method: optional(cropMethod),
  random_flip: optional(boolean),
};

function sceneTransform(size: number, method: CropMethod, flips: boolean): TransformOptions {
  return {
    size,
    filter: 'bilinear',
    orient: false,
    ...(method === 'random-2d' && { minCropSide: size }),
    randomCrop: method !== 'center',
    flip: flips ? 0.5 : 0,
  };
}

// The original's defaults of what is drawn from a data set.
const atLeastTwo = { minObjectsPerImage: 2, maxObjectsPerImage: 30 };

register<ScenesParams & { useThings?: boolean; useStuff?: boolean }>(
  ['taming.data.annotated_objects_coco.AnnotatedObjectsCoco'],
  { ...scenesFields, use_things: optional(boolean), use_stuff: optional(boolean) },
  ({ useThings = true, useStuff = true, ...params }) => {
    const { split, targetImageSize, cropMethod: method = 'random-1d', randomFlip = false } = params;
    check(split !== 'test' && (useThings || useStuff), () => {
      return 'AnnotatedObjectsCoco: split is train or validation, with things or stuff or both.';
    });
    const year = `${split === 'train' ? 'train' : 'val'}2017`;
    const kinds = [...(useThings ? ['instances'] : []), ...(useStuff ? ['stuff'] : [])];
    return objectSet(
      { minObjectArea: 1e-5, ...atLeastTwo, ...(useStuff && { without: ['other'] }), ...params },
      sceneTransform(targetImageSize, method, randomFlip),
      (options) => {
        const root = rootOf(
          { dataRoot: params.dataRoot ?? params.dataPath },
          'AnnotatedObjectsCoco',
        );
        const files = kinds.map((kind) => join(root, 'annotations', `${kind}_${year}.json`));
        return AnnotatedImages.openCoco(files, join(root, year), options);
      },
    );
  },
  ['keys'],
);

const lists = unsupported('it names a list in Python: give the categories with only and merge');

function openImages(
  params: ObjectParams & Rooted,
  split: ScenesParams['split'],
  transform: TransformOptions,
): ImageSetSpec {
  const defaults = { useGroupParameter: true, useAdditionalParameters: true };
  return objectSet(
    { minObjectArea: 1e-4, ...atLeastTwo, ...defaults, ...params },
    transform,
    (options) => {
      const root = rootOf(params, 'OpenImages');
      const boxes = `${split === 'train' ? 'oidv6-train' : split}-annotations-bbox.csv`;
      return AnnotatedImages.openOpenImages(
        { boxes: join(root, boxes), classes: join(root, 'class-descriptions-boxable.csv') },
        join(root, split),
        options,
      );
    },
  );
}

interface ListTargets {
  categoryAllowListTarget?: undefined;
  categoryMappingTarget?: undefined;
}

register<ScenesParams & ListTargets>(
  ['taming.data.annotated_objects_open_images.AnnotatedObjectsOpenImages'],
  { ...scenesFields, category_allow_list_target: lists, category_mapping_target: lists },
  ({ dataRoot, dataPath, split, targetImageSize, cropMethod: method = 'random-2d', ...params }) =>
    openImages(
      { ...params, dataRoot: dataRoot ?? dataPath },
      split,
      sceneTransform(targetImageSize, method, params.randomFlip ?? false),
    ),
  ['keys'],
);

for (const split of ['train', 'validation'] as const) {
  const training = split === 'train';
  register<
    Rooted &
      ObjectParams & {
        datapath?: string;
        size: number;
        randomFlip?: boolean;
        cropType?: CropMethod;
      }
  >(
    [`ldm.data.openimages.OpenImagesBBox${training ? 'Train' : 'Validation'}`],
    {
      ...rooted,
      ...objectFields,
      datapath: optional(text),
      size: side,
      random_flip: optional(boolean),
      crop_type: optional(cropMethod),
    },
    ({ dataRoot, datapath, size, randomFlip = training, cropType, ...params }) => {
      const method = cropType ?? (training ? 'random-2d' : 'center');
      const transform = sceneTransform(size, method, randomFlip);
      return openImages({ ...params, dataRoot: dataRoot ?? datapath }, split, transform);
    },
    ['keys', 'encode_bbox'],
  );
}
