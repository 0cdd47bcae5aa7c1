// The work of `emulsion upscale`: each picture enlarged into a file of its name.
import { checkColour } from '../io/decode_image.js';
import { readImage, writeImage } from '../io/image.js';
import { upscale, upscalingFactor, type LatentDiffusion } from '../ldm/index.js';
import { concat } from '../ops/index.js';
import { tidy } from '../scope.js';
import { findPictures, makeFolder, planPngs, type PictureFile } from './picture_files.js';
import { openForSampling, SampleProgress } from './picture_run.js';
import { interruptible, UsageError } from './run.js';
import { samplerOf } from './samplers.js';
import type { UpscaleCommandOptions } from './upscale.js';

/** Enlarges the pictures. Ctrl-C leaves those that are finished. */
export async function upscalePictures(
  inputs: readonly string[],
  options: UpscaleCommandOptions,
): Promise<void> {
  const { output, quiet, background } = options;
  checkColour(background);
  const pictures = await findPictures(inputs);
  const outputs = await planPngs(
    pictures.map(({ name }) => name),
    output,
    { force: options.force, inputs: pictures.map(({ path }) => path) },
  );
  const { model } = await openForSampling(options, (spec) => {
    try {
      upscalingFactor(spec);
    } catch (error) {
      throw new UsageError(`${options.model}: ${(error as Error).message}`);
    }
  });
  await makeFolder(output);
  const began = performance.now();
  const made = await upscaleAll(model, pictures, outputs, options);
  const total = pictures.length;
  if (made < total) {
    console.log(`Interrupted: ${made} of ${total} pictures are in ${output}.`);
    process.exitCode = 130;
    return;
  }
  if (quiet) return;
  const seconds = (performance.now() - began) / 1000;
  const times = upscalingFactor(model.spec);
  console.log(
    `${total} ${total === 1 ? 'picture' : 'pictures'} ${times} times as large in ${seconds.toFixed(1)} s: ${output}`,
  );
}

/** @returns how many were finished before Ctrl-C */
function upscaleAll(
  model: LatentDiffusion,
  pictures: readonly PictureFile[],
  outputs: readonly string[],
  options: UpscaleCommandOptions,
): Promise<number> {
  const sampler = samplerOf(options);
  // A picture beside others would differ in its last bits: a CPU chooses its kernels by the rows there are.
  const most = model.betas.device.name === 'cpu' ? 1 : options.batch;
  const progress = new SampleProgress(pictures.length, options);
  return interruptible('Stopping.', async (signal) => {
    let done = 0;
    try {
      while (done < pictures.length && !signal.aborted) {
        const group = groupFrom(pictures, done, most);
        await tidy(async () => {
          const large = await upscale(model, {
            ...sampler,
            image: concat(await Promise.all(group.map((picture) => read(picture, options)))),
            seed: group.map(() => options.seed),
            signal,
            onStep: ({ step, steps }) => progress.step(done, group.length, step, steps),
          });
          for (const i of group.keys()) {
            await writeImage(outputs[done], large.narrow(0, i, 1));
            done += 1;
          }
        });
      }
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
    } finally {
      progress.stop();
    }
    return done;
  });
}

// Neighbours of one size.
function groupFrom(pictures: readonly PictureFile[], first: number, most: number): PictureFile[] {
  const { height, width } = pictures[first];
  const next = pictures.slice(first, first + most);
  const other = next.findIndex((each) => each.height !== height || each.width !== width);
  return other < 0 ? next : next.slice(0, other);
}

async function read({ path }: PictureFile, { background }: UpscaleCommandOptions) {
  const image = await readImage(path, { background });
  return image.reshape([1, ...image.shape]);
}
