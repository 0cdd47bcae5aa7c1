// The work of `emulsion sample`: pictures of a diffusion model, each a function of its own seed.
import { tensor } from '../creation.js';
import { preparePicture } from '../data/prepare.js';
import { check } from '../errors.js';
import { writeImage } from '../io/image.js';
import {
  decodeInBatches,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type SampleOptions,
} from '../ldm/index.js';
import { noGrad } from '../autograd/index.js';
import { concat } from '../ops/index.js';
import { keep, tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { openDiffusionModel, type OpenedModel } from './diffusion_model.js';
import { interruptible, UsageError } from './run.js';
import type { SampleCommandOptions } from './sample.js';
import { SampleFolder } from './sample_folder.js';
import { samplerOf } from './samplers.js';
import { terminalBar } from './terminal_bar.js';

/**
 * Latents that a CPU's kernels see at once. Which kernel is chosen depends on the rows there are, and with it the
 * last bits of a sum: groups of one size, filled up where pictures lack, make a picture a function of its seed.
 */
const cpuGroup = 4;

const defaultStrength = 0.75;

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function samplePictures(options: SampleCommandOptions): Promise<void> {
  const { output, count, seed, quiet } = options;
  const sampler = samplerOf(options);
  if (options.strength !== undefined && options.init === undefined)
    throw new UsageError('--strength says how much of a picture is changed: give it with --init.');
  const opened = await openDiffusionModel(options, (spec) => refuseOther(spec, options));
  const { model } = opened;
  const { timesteps } = model.diffusion.schedule;
  if ((options.steps ?? 0) > timesteps)
    throw new UsageError(
      `${options.model} was trained with ${timesteps} timesteps: --steps must be at most that.`,
    );
  const classes = classesOf(opened, options);
  const folder = await SampleFolder.open(output);
  const total = count * Math.max(1, classes.length);
  if (options.grid) folder.checkGrid(total);
  const image = options.init === undefined ? undefined : await initialLatent(model, options);
  await folder.describe(total, {
    model: opened.path,
    weights: opened.weights,
    sampler: options.sampler,
    steps: sampler.method === 'ddpm' ? timesteps : (sampler.steps ?? 50),
    spacing: options.spacing,
    eta: options.eta,
    guidance: options.guidance,
    classes: classes.length > 0 ? classes : undefined,
    seed,
    init: options.init,
    strength: image?.strength,
  });

  const began = performance.now();
  const made = await makePictures(model, total, options, {
    sampling: { ...sampler, guidance: options.guidance, image },
    fileOf: (picture) => folder.picture(picture),
    seedOf: (picture) => seed + folder.first + picture,
    ...(classes.length > 0 && { classOf: (picture) => classes[Math.floor(picture / count)] }),
  });
  if (made < total) {
    console.log(`Interrupted: ${made} of ${total} pictures are in ${output}.`);
    process.exitCode = 130;
    return;
  }
  const seconds = (performance.now() - began) / 1000;
  if (options.grid) await folder.writeGrid(total, classes.length > 0 ? count : undefined);
  if (options.npz) await folder.writeNpz(total);
  if (quiet) return;
  const speed = (total / seconds).toPrecision(3);
  console.log(
    `${total} ${total === 1 ? 'picture' : 'pictures'} in ${seconds.toFixed(1)} s (${speed} per second): ` +
      `${folder.picture(0)}${total > 1 ? ` to ${folder.picture(total - 1)}` : ''}`,
  );
}

/** What decides a picture, by its number in this call. */
interface Plan {
  readonly sampling: SampleOptions;
  fileOf(picture: number): string;
  seedOf(picture: number): number;
  readonly classOf?: (picture: number) => number;
}

/** @returns how many were finished before Ctrl-C */
function makePictures(
  model: LatentDiffusion,
  total: number,
  options: SampleCommandOptions,
  plan: Plan,
): Promise<number> {
  const onCpu = model.betas.device.name === 'cpu';
  const size = onCpu ? cpuGroup : options.batch;
  const progress = new SampleProgress(total, options);
  return interruptible('Stopping.', async (signal) => {
    let done = 0;
    try {
      while (done < total && !signal.aborted) {
        const group = Array.from({ length: Math.min(size, total - done) }, (_, i) => done + i);
        const filled = onCpu ? Array.from({ length: size }, (_, i) => group[i] ?? done) : group;
        await tidy(async () => {
          const latents = await sampleGroup(model, filled, plan, {
            signal,
            onStep: ({ step, steps }) => progress.step(done, group.length, step, steps),
          });
          for (const [i, picture] of group.entries()) {
            const pixels = await noGrad(() => decodeInBatches(model, latents.narrow(0, i, 1), 1));
            await writeImage(plan.fileOf(picture), pixels);
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

async function sampleGroup(
  model: LatentDiffusion,
  pictures: readonly number[],
  { sampling: { image, ...sampling }, seedOf, classOf }: Plan,
  watching: Pick<SampleOptions, 'signal' | 'onStep'>,
): Promise<Tensor> {
  const classes = classOf && BigInt64Array.from(pictures, (each) => BigInt(classOf(each)));
  const { latents } = await model.sample({
    ...sampling,
    ...watching,
    seed: pictures.map(seedOf),
    ...(classes && { condition: tensor(classes) }),
    ...(image && {
      image: {
        ...image,
        latent: concat(
          pictures.map(() => image.latent),
          0,
        ),
      },
    }),
    decode: false,
  });
  return latents;
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

/** Moves with every step. */
class SampleProgress {
  readonly #bar: ReturnType<typeof terminalBar>;

  constructor(total: number, options: SampleCommandOptions) {
    this.#bar = terminalBar(
      '{bar} {picture}/{total} pictures | step {step}/{steps} | {eta_formatted} left',
      options,
    );
    this.#bar?.start(total, 0, { picture: 0, step: 0, steps: '?' });
  }

  step(done: number, group: number, step: number, steps: number): void {
    const share = (group * (step + 1)) / steps;
    this.#bar?.update(done + share, { picture: done, step: step + 1, steps });
  }

  stop(): void {
    this.#bar?.stop();
  }
}
