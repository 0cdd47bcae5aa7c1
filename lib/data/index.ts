// Pictures for training and measuring: data sets, transforms, the loader.
export {
  MemoryImages,
  type Dataset,
  type ImageItem,
  type ImageSource,
  type LabelledBox,
} from './dataset.js';
export type { Condition, ConditionSource, ConditionWords, PreparedPicture } from './condition.js';
export {
  readLabels,
  segmentation,
  type LabelOptions,
  type SegmentationOptions,
} from './conditions/segmentation.js';
export { readColourMap, type ColourMap, type LabelMapOptions } from './label_map.js';
export { AnnotatedImages, type AnnotationOptions, type Category } from './annotations.js';
export { HybridConditions } from './conditions/hybrid.js';
export { LayoutConditions, type LayoutEncoder, type RelativeObject } from './conditions/layout.js';
export { MaskedPictures, type MaskedPicturesOptions } from './conditions/masked.js';
export * from './masks/index.js';
export { ImageFolder, type ImageFolderOptions } from './image_folder.js';
export { ImageList } from './image_list.js';
export { CaptionedImages } from './captioned_images.js';
export { captionCondition, type CaptionTokenizer } from './conditions/captions.js';
export { MapFolder, type MapFolderOptions } from './map_folder.js';
export { TarShards } from './tar_shards.js';
export type { Region, TransformOptions } from './transform.js';
export type { ResizeFilter } from './resize.js';
export { DataLoader, type DataLoaderOptions, type ImageBatch } from './loader.js';
export type { DamagedPicture } from './damaged.js';
export type { DataSource } from './source.js';
export type { Pixels } from './pixels.js';
export {
  applySteps,
  degradationNames,
  degrade,
  type DegradationName,
  type DegradationStep,
  type Degraded,
  type DrawKey,
  type Noise,
} from './degradation/index.js';
export { LowResolution, type LowResolutionOptions } from './conditions/low_resolution.js';
