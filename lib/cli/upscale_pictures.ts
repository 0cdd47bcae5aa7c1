// The work of `emulsion upscale`: each picture enlarged into a file of its name.
import { checkColour } from '../io/decode_image.js';
import { readImage } from '../io/image.js';
import { prepareUpscaling, type Upscaling } from '../ldm/index.js';
import { upscalingSampler } from '../ldm/tasks/upscale.js';
import { concat } from '../ops/index.js';
import { refuseOtherTask } from './other_task.js';
import { findPictures, planPngs, type PictureFile } from './picture_files.js';
import { openForSampling, refuseMixedSizes, runPictures } from './picture_run.js';
import { samplerOf } from './samplers.js';
import type { UpscaleCommandOptions } from './upscale.js';

/** Enlarges the pictures. Ctrl-C leaves those that are finished. */
export async function upscalePictures(
  inputs: readonly string[],
  options: UpscaleCommandOptions,
): Promise<void> {
  const { output, background, force } = options;
  checkColour(background);
  const pictures = await findPictures(inputs);
  const kind = (picture: number) => `${pictures[picture].height} x ${pictures[picture].width}`;
  refuseMixedSizes(options, pictures.length, kind);
  const paths = pictures.map(({ path }) => path);
  const names = pictures.map(({ name }) => name);
  const outputs = await planPngs(names, output, { force, inputs: paths });
  const opened = await openForSampling(options, (spec) => {
    refuseOtherTask(options.model, spec, 'upscale');
  });
  const { model } = opened;
  let group: Upscaling;
  await runPictures(
    opened,
    { ...options, ...upscalingSampler(model, samplerOf(options)) },
    {
      total: pictures.length,
      settings: { pictures: paths, background },
      kind,
      fileOf: (picture) => outputs[picture],
      async sampling(numbers) {
        const images = [];
        for (const number of numbers) images.push(await read(pictures[number], options));
        group = prepareUpscaling(model, { image: concat(images) });
        return group.sampling;
      },
      decode: (_picture, latents) => group.decode(latents),
    },
  );
}

async function read({ path }: PictureFile, { background }: UpscaleCommandOptions) {
  const image = await readImage(path, { background });
  return image.reshape([1, ...image.shape]);
}
