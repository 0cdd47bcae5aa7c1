// The work of `emulsion sample`: pictures of a diffusion model, each a function of its own seed.
import { tensor } from '../creation.js';
import { preparePicture } from '../data/prepare.js';
import { check } from '../errors.js';
import type { LatentDiffusion, LatentDiffusionSpec, SampleOptions } from '../ldm/index.js';
import { concat } from '../ops/index.js';
import { keep, tidy } from '../scope.js';
import { refuseOtherTask } from './other_task.js';
import { openForSampling, runPictures } from './picture_run.js';
import { UsageError } from './run.js';
import type { SampleCommandOptions } from './sample.js';

const defaultStrength = 0.75;

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function samplePictures(options: SampleCommandOptions): Promise<void> {
  const { count } = options;
  if (options.strength !== undefined && options.init === undefined)
    throw new UsageError('--strength says how much of a picture is changed: give it with --init.');
  const opened = await openForSampling(options, (spec) => refuseOther(spec, options));
  const { model } = opened;
  const image = options.init === undefined ? undefined : await initialLatent(model, options);
  await runPictures(opened, options, {
    total: count,
    settings: { init: options.init },
    strength: image?.strength,
    ...(image && {
      sampling: (pictures) => {
        const latents = pictures.map(() => image.latent);
        return { image: { ...image, latent: concat(latents, 0) } };
      },
    }),
  });
}

// What is conditioned on must be something that this command can be told.
function refuseOther(spec: LatentDiffusionSpec, options: SampleCommandOptions): void {
  refuseOtherTask(options.model, spec, 'sample');
  if (options.guidance !== undefined)
    throw new UsageError(`${options.model} has no condition that --guidance could strengthen.`);
}

/** The latent of `--init`, cut to the square that the model was trained on. */
async function initialLatent(
  model: LatentDiffusion,
  { init, strength = defaultStrength }: SampleCommandOptions,
): Promise<NonNullable<SampleOptions['image']>> {
  const { spec, first_stage_model: stage } = model;
  const side = (spec.imageSize ?? spec.unet.imageSize ?? 0) * stage.downsampling;
  check(side > 0, () => 'the model does not say how large its pictures are (imageSize).');
  const draws = [0, 0, 0, 1] as const;
  const source = { file: init! };
  const { pixels: square } = await preparePicture(
    { path: init!, source, draws },
    { size: side, filter: 'bicubic' },
  );
  const pixels = Float32Array.from(square.data, (byte) => byte / 127.5 - 1);
  const latent = tidy(() => keep(model.encode(tensor(pixels, { shape: [1, side, side, 3] }))));
  return { latent, strength };
}
