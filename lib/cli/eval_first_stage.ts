// The work of `emulsion eval first-stage`: pictures against their reconstructions.
import { evaluateFirstStage, openPictureSet, scoreSets, type Evaluation } from '../eval/index.js';
import { momentsOf } from '../eval/features.js';
import { modelHash } from '../eval/hash.js';
import { tidy } from '../scope.js';
import type { FirstStageCommandOptions } from './eval.js';
import { measuring, openExtractor, openLpips, planResult, tell } from './eval_report.js';
import { openFirstStage, tilingOf } from './first_stage_model.js';
import { packageVersion } from './version.js';

/** Reconstructs, measures and tells the result. */
export async function evaluateReconstructions(options: FirstStageCommandOptions): Promise<void> {
  await planResult(options);
  const set = await openPictureSet(options.images, options);
  const { lpips, hash: lpipsHash } = await openLpips(options);
  const extractor = await openExtractor(options);
  const model = await openFirstStage({ ...options, output: '' });
  try {
    const evaluation = await measuring(options, (signal, progress) =>
      tidy(async (): Promise<Evaluation> => {
        const hash = await set.hash(signal);
        const { summary, originals, reconstructions } = await evaluateFirstStage(
          model,
          set,
          extractor,
          {
            ...{ signal, lpips, onProgress: progress.pictures('pictures', set.count) },
            tiling: (picture) => tilingOf({ ...options, output: '' }, model, picture),
          },
        );
        const { features } = originals;
        const moments = await momentsOf(features);
        const reference = { moments, features, count: set.count, hash, kept: false };
        const { scores, parameters, notes } = await scoreSets(reconstructions, reference, {
          ...{ signal, onStage: progress.stage },
          neighbours: false, // each has its original beside it
        });
        const { name, weightsHash: weights, resize } = extractor;
        return {
          scores: { ...scores, ...summary },
          notes,
          protocol: {
            task: 'first-stage',
            emulsion: packageVersion,
            extractor: { name, weights, resize },
            size: options.size ?? null,
            reference: { hash, count: set.count },
            samples: { hash: reconstructions.hash, count: set.count, classes: null },
            sampling: {
              ...{ model: options.model, modelHash: await modelHash(options.model) },
              weights: options.ema ? 'ema' : 'raw',
              ...{
                sampler: null,
                steps: null,
                spacing: null,
                eta: null,
                guidance: null,
                seed: null,
              },
              condition: null,
            },
            parameters,
            lpips: lpipsHash,
          },
        };
      }),
    );
    if (evaluation) await tell(evaluation, options);
  } finally {
    model.dispose();
    extractor.dispose();
  }
}
