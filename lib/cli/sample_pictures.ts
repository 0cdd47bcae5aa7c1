// The work of `emulsion sample`: pictures of a diffusion model, each a function of its own seed.
import { tensor } from '../creation.js';
import { preparePicture } from '../data/prepare.js';
import { check } from '../errors.js';
import type { LatentDiffusion, LatentDiffusionSpec, SampleOptions } from '../ldm/index.js';
import { concat } from '../ops/index.js';
import { keep, tidy } from '../scope.js';
import { askedClasses } from './class_file.js';
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
  const { class: asked = [] } = options;
  const classes = asked.length > 0 ? askedClasses(model.conditioner, asked, opened.classes) : [];
  const image = options.init === undefined ? undefined : await initialLatent(model, options);
  const classOf = (picture: number) => BigInt(classes[Math.floor(picture / count)]);
  await runPictures(opened, options, {
    total: count * Math.max(1, classes.length),
    settings: {
      classes: classes.length > 0 ? classes : undefined,
      init: options.init,
      strength: image?.strength,
    },
    ...(image && {
      sampling: (pictures) => {
        const latents = pictures.map(() => image.latent);
        return { image: { ...image, latent: concat(latents, 0) } };
      },
    }),
    ...(classes.length > 0 && {
      condition: (pictures) => tensor(BigInt64Array.from(pictures, classOf)),
      perRow: count,
    }),
  });
}

// What is conditioned on must be something that this command can be told.
function refuseOther(spec: LatentDiffusionSpec, options: SampleCommandOptions): void {
  const { kind } = spec.conditioner ?? { kind: 'none' };
  if (kind !== 'class') refuseOtherTask(options.model, spec, 'sample');
  if (kind === 'class' && !options.class)
    throw new UsageError(`${options.model} is conditioned on classes: say which with --class.`);
  if (kind === 'none' && options.class)
    throw new UsageError(`${options.model} is not conditioned on classes: leave --class out.`);
  if (kind === 'none' && options.guidance !== undefined)
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
