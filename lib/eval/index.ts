// Evaluation as a product: sets of pictures, what they score, and the protocol that makes scores comparable.
export {
  extractorNames,
  PictureExtractor,
  type FeatureNetwork,
  resizeNames,
  type ExtractedRows,
  type ExtractorName,
  type ExtractorOptions,
  type ResizeName,
} from './extractor.js';
export {
  openPictureSet,
  type NamedPicture,
  type PictureSet,
  type PictureSetOptions,
} from './picture_set.js';
export { extractSet, type ExtractOptions, type SetFeatures } from './features.js';
export {
  openReference,
  originOf,
  saveReference,
  type FeatureOrigin,
  type Reference,
  type ReferenceOptions,
} from './reference.js';
export {
  scoreSets,
  scoreNames,
  type MetricParameters,
  type ScoreName,
  type ScoreOptions,
  type Scores,
  type SetScores,
} from './scores.js';
export { formatScore, presentScores } from './present.js';
export { generateFeatures, type GenerateOptions, type Generation } from './generation.js';
export {
  classBalance,
  readSamplingRecord,
  withDefaults,
  type FolderRecord,
} from './sampling_record.js';
export {
  checkComparable,
  loadEvaluation,
  protocolDifferences,
  saveEvaluation,
  type ClassBalance,
  type Evaluation,
  type Protocol,
  type ProtocolDifference,
  type SamplingRecord,
} from './protocol.js';
export {
  evaluateFirstStage,
  type FirstStageOptions,
  type FirstStageQuality,
} from './first_stage.js';
export { nearestPictures, picturesNamed, type NearestPicture } from './nearest.js';
