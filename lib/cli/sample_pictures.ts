// The work of `emulsion sample`: pictures of a diffusion model, each a function of its own seed.
import { tensor } from '../creation.js';
import { preparePicture } from '../data/prepare.js';
import { check } from '../errors.js';
import type { LatentDiffusion, LatentDiffusionSpec, SampleOptions } from '../ldm/index.js';
import { concat } from '../ops/index.js';
import { keep, tidy } from '../scope.js';
import type { OpenedModel } from './diffusion_model.js';
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
  const classes = classesOf(opened, options);
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

// What is conditioned on must be something that the command line can say.
function refuseOther({ conditioner }: LatentDiffusionSpec, options: SampleCommandOptions): void {
  const { kind = 'none' } = conditioner ?? {};
  const what: Record<string, string> = {
    bert: 'text or a layout',
    'spatial-rescaler': 'a semantic map',
    'first-stage': 'a masked picture',
    identity: 'a picture or embeddings of another network',
  };
  if (kind in what)
    throw new UsageError(
      `${options.model} is conditioned on ${what[kind]}, which this command cannot be given: it samples models ` +
        'that take nothing or classes. In a program, LatentDiffusion.sample takes any condition.',
    );
  if (kind === 'class' && !options.class)
    throw new UsageError(`${options.model} is conditioned on classes: say which with --class.`);
  if (kind === 'none' && options.class)
    throw new UsageError(`${options.model} is not conditioned on classes: leave --class out.`);
  if (kind === 'none' && options.guidance !== undefined)
    throw new UsageError(`${options.model} has no condition that --guidance could strengthen.`);
}

// Digits are an id, anything else is a name.
function classesOf({ model, classes }: OpenedModel, options: SampleCommandOptions): number[] {
  const { conditioner } = model;
  if (conditioner.kind !== 'class') return [];
  const { nClasses = 1000 } = conditioner;
  return options.class!.map((given) => {
    const id = /^\d+$/.test(given) ? Number(given) : classes.indexOf(given);
    if (id >= 0 && id < nClasses) return id;
    const names = classes.length > 0 ? `, or one of ${classes.slice(0, 20).join(', ')}` : '';
    const more = classes.length > 20 ? ', ...' : '';
    throw new UsageError(
      `there is no class '${given}': expected an id from 0 to ${nClasses - 1}${names}${more}. ` +
        (classes.length > 0 ? '' : 'For names give --class-names.'),
    );
  });
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
