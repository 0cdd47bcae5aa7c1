// The work of `emulsion eval nearest`: whether a model repeats what it has seen.
import { extname } from 'node:path';
import { nearestPictures, openPictureSet, picturesNamed } from '../eval/index.js';
import { tensor } from '../creation.js';
import { makeGrid, writeImage } from '../io/image.js';
import { resizePixels } from '../data/resize.js';
import type { Pixels } from '../io/decode_image.js';
import { stack } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { NearestCommandOptions } from './eval.js';
import { measuring, openExtractor, planResult } from './eval_report.js';
import { printJson, UsageError } from './run.js';

const pairsPerRow = 4;
const largestCount = 512;

/** Writes the picture of the nearest pairs, left the sample and right what it is most like, and lists them. */
export async function showNearest(path: string, options: NearestCommandOptions): Promise<void> {
  if (extname(options.output).toLowerCase() !== '.png')
    throw new UsageError(`${options.output} is no name of a PNG file.`);
  if (options.count > largestCount)
    throw new UsageError(
      `a picture shows at most ${largestCount} pairs: choose a smaller --count.`,
    );
  await planResult(options);
  const samples = await openPictureSet(path, options);
  const training = await openPictureSet(options.training, options);
  const extractor = await openExtractor(options);
  try {
    await measuring(options, async (signal, progress) => {
      const total = samples.count + training.count;
      const onProgress = progress.pictures('pictures', total);
      const pairs = await nearestPictures(samples, training, extractor, { signal, onProgress });
      const shown = pairs.slice(0, options.count);
      const left = await picturesNamed(
        samples,
        shown.map(({ sample }) => sample),
        { signal },
      );
      const right = await picturesNamed(
        training,
        shown.map((pair) => pair.training),
        { signal },
      );
      await writePairs(
        options.output,
        shown.flatMap((pair) => [left.get(pair.sample)!, right.get(pair.training)!]),
      );
      progress.stop();
      if (options.json) printJson(pairs);
      else
        for (const { sample, training, distance } of shown)
          console.log(`${distance.toFixed(4)}  ${sample}  ${training}`);
    });
  } finally {
    extractor.dispose();
  }
}

/** Pictures in pairs; those of another size than the first are resized. */
async function writePairs(path: string, pictures: readonly Pixels[]): Promise<void> {
  const { height, width } = pictures[0];
  await tidy(async () => {
    const images = pictures.map((picture) => {
      const same = picture.height === height && picture.width === width;
      const { data } = same ? picture : resizePixels(picture, height, width, 'bicubic');
      const values = Float32Array.from(data, (byte) => byte / 127.5 - 1);
      return tensor(values, { shape: [height, width, 3], device: 'cpu' });
    });
    await writeImage(path, await makeGrid(stack(images), { nrow: 2 * pairsPerRow }));
  });
}
