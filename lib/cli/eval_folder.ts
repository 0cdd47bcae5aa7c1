// The work of `emulsion eval folder` and `eval reference`, and what all scores against a reference have in common.
import {
  extractSet,
  openPictureSet,
  openReference,
  originOf,
  readSamplingRecord,
  saveReference,
  scoreSets,
  type Evaluation,
  type FolderRecord,
  type PictureExtractor,
  type SetFeatures,
} from '../eval/index.js';
import { momentsOf } from '../eval/features.js';
import type {
  FolderCommandOptions,
  ReferenceCommandOptions,
  ReferenceFileOptions,
} from './eval.js';
import {
  cacheFolder,
  measuring,
  openExtractor,
  planResult,
  tell,
  type MeasuringProgress,
} from './eval_report.js';
import { printJson } from './run.js';
import { packageVersion } from './version.js';

/** Scores the pictures and tells the result. */
export async function evaluateFolder(path: string, options: FolderCommandOptions): Promise<void> {
  await planResult(options);
  const set = await openPictureSet(path, options);
  const record = set.kind === 'folder' ? await readSamplingRecord(path, set.count) : null;
  const extractor = await openExtractor(options);
  try {
    const evaluation = await measuring(options, (signal, progress) =>
      scoreAgainst(options, extractor, { signal, progress }, async () => {
        const onProgress = progress.pictures('samples', set.count);
        return { record, features: await extractSet(set, extractor, { signal, onProgress }) };
      }),
    );
    if (evaluation) await tell(evaluation, options);
  } finally {
    extractor.dispose();
  }
}

/** Writes the statistics of a set. */
export async function writeReference(path: string, options: ReferenceFileOptions): Promise<void> {
  await planResult(options);
  const set = await openPictureSet(path, options);
  const extractor = await openExtractor(options);
  try {
    const written = await measuring(options, async (signal, progress) => {
      const onProgress = progress.pictures('pictures', set.count);
      const { features, logits } = await extractSet(set, extractor, { signal, onProgress });
      logits.dispose();
      try {
        await saveReference(options.output, {
          ...{ features, moments: await momentsOf(features) },
          origin: originOf(extractor, options),
        });
        return { file: options.output, pictures: set.count };
      } finally {
        features.dispose();
      }
    });
    if (written && options.json) printJson(written);
  } finally {
    extractor.dispose();
  }
}

/** Samples, and how they were made where something tells. */
export interface Sampled {
  readonly features: SetFeatures;
  readonly record: FolderRecord | null;
}

/**
 * The scores of samples with their protocol.
 * @param make is called when the reference is ready: what is wrong with that shows before hours of sampling
 */
export async function scoreAgainst(
  options: ReferenceCommandOptions,
  extractor: PictureExtractor,
  { signal, progress }: { signal: AbortSignal; progress: MeasuringProgress },
  make: () => Promise<Sampled>,
): Promise<Evaluation> {
  const { size, neighbours } = options;
  const reference = await openReference(options.reference, extractor, {
    ...{ size, signal, cache: cacheFolder(options) },
    onStart: (count) => progress.pictures('reference', count),
  });
  let features: SetFeatures | undefined;
  try {
    const sampled = await make();
    features = sampled.features;
    const { sampling = null, classes = null, notes: told = [] } = sampled.record ?? {};
    const onStage = progress.stage;
    const { scores, parameters, notes } = await scoreSets(features, reference, {
      ...{ signal, neighbours, onStage },
    });
    const { name, weights, resize } = originOf(extractor);
    return {
      scores,
      notes: [...told, ...notes],
      protocol: {
        task: 'sets',
        emulsion: packageVersion,
        extractor: { name, weights, resize },
        size: size ?? null,
        reference: { hash: reference.hash, count: reference.count },
        samples: { hash: features.hash, count: features.features.shape[0], classes },
        sampling,
        parameters,
        lpips: null,
      },
    };
  } finally {
    reference.features?.dispose();
    features?.features.dispose();
    features?.logits.dispose();
  }
}
