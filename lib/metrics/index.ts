// Picture metrics: how close reconstructions are.
export {
  compareFolders,
  comparePictures,
  formatMeanStd,
  listPictures,
  summarize,
  type CompareOptions,
  type FolderComparison,
  type FolderOptions,
  type MeanStd,
  type PictureQuality,
} from './folders.js';
export { Lpips, loadLpips, type LpipsFiles, type LpipsOptions } from './lpips.js';
export { psnr } from './psnr.js';
export { ssim, type SsimConvention, type SsimOptions } from './ssim.js';
export type { RangeOptions } from './measure.js';
