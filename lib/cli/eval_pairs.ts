// The work of `emulsion eval pairs`: pictures against those of the same name.
import { setDefaultDevice } from '../device.js';
import { openPictureSet, type Evaluation } from '../eval/index.js';
import { compareFolders } from '../metrics/folders.js';
import type { PairsCommandOptions } from './eval.js';
import { measuring, openLpips, planResult, tell } from './eval_report.js';
import { packageVersion } from './version.js';

/** Measures each pair and tells mean and deviation. */
export async function evaluatePairs(
  reference: string,
  pictures: string,
  options: PairsCommandOptions,
): Promise<void> {
  await planResult(options);
  if (options.device !== undefined) setDefaultDevice(options.device);
  const [expected, actual] = [await openPictureSet(reference), await openPictureSet(pictures)];
  const { lpips, hash } = await openLpips(options);
  const evaluation = await measuring(options, async (signal, progress): Promise<Evaluation> => {
    const onProgress = progress.pictures('pairs', actual.count);
    const { summary } = await compareFolders(reference, pictures, { lpips, signal, onProgress });
    return {
      scores: summary,
      notes: [],
      protocol: {
        task: 'pairs',
        emulsion: packageVersion,
        extractor: null,
        size: null,
        reference: { hash: await expected.hash(signal), count: expected.count },
        samples: { hash: await actual.hash(signal), count: actual.count, classes: null },
        sampling: null,
        parameters: null,
        lpips: hash,
      },
    };
  });
  if (evaluation) await tell(evaluation, options);
}
