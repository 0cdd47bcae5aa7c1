// How close pictures are to each other, and sets of pictures by their features.
export {
  compareFolders,
  comparePictures,
  listPictures,
  summarize,
  type CompareOptions,
  type FolderComparison,
  type FolderOptions,
  type PictureQuality,
} from './folders.js';
export { formatMeanStd, meanStd, median, type MeanStd } from './mean_std.js';
export { Lpips, loadLpips, type LpipsFiles, type LpipsOptions } from './lpips.js';
export { psnr } from './psnr.js';
export { ssim, type SsimConvention, type SsimOptions } from './ssim.js';
export type { RangeOptions } from './measure.js';
export { FeatureStatistics, loadMoments, saveMoments } from './statistics.js';
export { frechetDistance, type FeatureMoments } from './frechet.js';
export { kernelDistance, polynomialMmd, type KernelDistanceOptions } from './kernel_distance.js';
export { inceptionScore, type InceptionScoreOptions } from './inception_score.js';
export {
  densityCoverage,
  neighbourScores,
  precisionRecall,
  type NeighbourOptions,
  type NeighbourScores,
} from './precision_recall.js';
export { nearestNeighbours, type NearestNeighbours } from './nearest_neighbours.js';
export type { PairOptions } from './distances.js';
export {
  InceptionV3,
  loadInception,
  resizeAsTensorFlow,
  type InceptionOutputs,
} from './inception.js';
export {
  EmojiExtractor,
  emojiCategories,
  emojiExtractorFile,
  loadEmojiExtractor,
  type EmojiOutputs,
} from './emoji_extractor.js';
