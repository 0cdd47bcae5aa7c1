// Pictures of a diffusion model into a folder, each a function of its own seed and condition: what all commands
// that sample have in common.
import { noGrad } from '../autograd/index.js';
import { writeImage } from '../io/image.js';
import {
  decodeInBatches,
  samplingSteps,
  type ConditionInput,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type SampleOptions,
} from '../ldm/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { openDiffusionModel, type OpenedModel } from './diffusion_model.js';
import { interruptible, printJson, UsageError } from './run.js';
import { SampleFolder } from './sample_folder.js';
import { samplerOf } from './samplers.js';
import type { SamplingCommandOptions } from './sampling_options.js';
import { terminalBar } from './terminal_bar.js';

/** How pictures are grouped, see {@link groupingOf}. */
export interface Grouping {
  /** Latents that the network sees at once. */
  readonly size: number;
  /** Whether groups that lack pictures are filled up to their size. */
  readonly filled: boolean;
}

/**
 * Groups of `--batch` pictures. Which kernel a CPU chooses depends on the rows there are, and with it the last bits of
 * a sum: there groups are filled up, so that a picture is a function of its seed however many are made.
 *
 * @param usual pictures in a group where nobody says how many. Default on a CPU 1, so that one picture costs one
 */
export function groupingOf(
  { betas }: LatentDiffusion,
  { batch }: Pick<SamplingCommandOptions, 'batch'>,
  usual?: number,
): Grouping {
  const filled = betas.device.name === 'cpu';
  return { size: batch ?? usual ?? (filled ? 1 : 4), filled };
}

/** The pictures of a group, the first one again where they are filled up. */
export const withFilling = (pictures: readonly number[], { size, filled }: Grouping) =>
  filled ? Array.from({ length: size }, (_, i) => pictures[i] ?? pictures[0]) : pictures;

/** What decides pictures beside the command's options and their seeds. */
type Told = Omit<SampleOptions, 'seed' | 'decode'>;

/** Pictures to be made, numbered from 0 in this call. */
export interface PictureRun {
  readonly total: number;
  /** What the model is told beside sampler, steps and seeds, for a group of pictures of one {@link kind}. */
  sampling?(pictures: readonly number[]): Told | Promise<Told>;
  /** What a group is conditioned on, as one batch. */
  condition?(pictures: readonly number[]): ConditionInput;
  /** What guidance leads a group away from. Default: the model's own "nothing". */
  unconditional?(pictures: readonly number[]): ConditionInput;
  /** Only neighbours of one kind, of one size for instance, are made in one group. Default: all are alike. */
  kind?(picture: number): string;
  /** Share of the steps that run, of pictures that begin with one. Default: all run, from noise. */
  readonly strength?: number;
  /** Each picture is made by itself: a large canvas is a batch of patches already. Default false. */
  readonly alone?: boolean;
  /** Makes [1, H, W, 3] of a picture's latents [1, h, w, C]. Default: the first stage at once. */
  decode?(picture: number, latents: Tensor): Promise<Tensor>;
  /** What becomes of [1, H, W, 3] in [-1, 1] before it is written: it may be cut, or joined with known pixels. */
  finish?(picture: number, pixels: Tensor): Tensor | Promise<Tensor>;
  /** Where a picture goes. Default: into the folder, numbered on from those that are there. */
  fileOf?(picture: number): string;
  /** Told when a picture is written. */
  written?(picture: number, path: string): Promise<void>;
  /** How they are made, noted in the folder beside what the options say. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Pictures in a row of `--grid`. Default 8. */
  readonly perRow?: number;
}

/**
 * Loads the model of a command that samples, which is wrong in its sampler's options before it loads anything.
 * @param refuse sees what will be loaded, and of which file or folder, before it is
 */
export async function openForSampling(
  options: SamplingCommandOptions,
  refuse: (spec: LatentDiffusionSpec, path: string) => void | Promise<void>,
): Promise<OpenedModel> {
  samplerOf(options);
  const opened = await openDiffusionModel(options, refuse);
  const { timesteps } = opened.model.diffusion.schedule;
  if ((options.steps ?? 0) > timesteps)
    throw new UsageError(
      `${options.model} was trained with ${timesteps} timesteps: --steps must be at most that.`,
    );
  return opened;
}

/** @throws UsageError where `--grid` or `--npz` would join pictures of several sizes; `sizeOf` says each in words */
export function refuseMixedSizes(
  { grid, npz }: Pick<SamplingCommandOptions, 'grid' | 'npz'>,
  total: number,
  sizeOf: (picture: number) => string,
  remedy = 'leave them out',
): void {
  if (!grid && !npz) return;
  const sizes = new Set(Array.from({ length: total }, (_, picture) => sizeOf(picture)));
  if (sizes.size > 1)
    throw new UsageError(
      `--grid and --npz take pictures of one size, these have ${[...sizes].slice(0, 8).join(', ')}: ${remedy}.`,
    );
}

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function runPictures(
  opened: OpenedModel,
  options: SamplingCommandOptions,
  run: PictureRun,
): Promise<void> {
  const folder = await SampleFolder.open(options.output);
  try {
    await runInFolder(folder, opened, options, run);
  } finally {
    await folder.close();
  }
}

async function runInFolder(
  folder: SampleFolder,
  opened: OpenedModel,
  options: SamplingCommandOptions,
  run: PictureRun,
): Promise<void> {
  const { output, seed, quiet } = options;
  const { total } = run;
  const { model } = opened;
  const grouping = { ...groupingOf(model, options), ...(run.alone && { size: 1 }) };
  const sampler = samplerOf(options);
  if (options.grid) folder.checkGrid(total);
  const { timesteps } = model.diffusion.schedule;
  const { strength } = run;
  const image = strength === undefined ? undefined : { strength };
  const steps = samplingSteps(timesteps, { ...sampler, image });
  const settings = {
    model: opened.path,
    weights: opened.weights,
    sampler: options.sampler,
    steps: steps.asked,
    stepsTaken: steps.taken,
    strength,
    spacing: options.spacing,
    eta: options.eta,
    guidance: options.guidance,
    seed,
    batch: grouping.size,
    ...run.settings,
  };
  await folder.describe(total, settings);
  const fileOf = (picture: number) => run.fileOf?.(picture) ?? folder.picture(picture);

  // A second call goes on with further seeds, unless its pictures replace those of the first.
  const seedOf = (picture: number) => seed + (run.fileOf ? 0 : folder.first) + picture;

  const began = performance.now();
  let made = 0;
  const plan: Plan = {
    common: { ...sampler, guidance: options.guidance },
    grouping,
    fileOf,
    seedOf,
    finished: (count) => (made = count),
  };
  try {
    await makePictures(model, options, run, plan);
  } finally {
    if (made < total) await folder.describe(made, settings);
  }
  const seconds = (performance.now() - began) / 1000;
  const files = Array.from({ length: made }, (_, picture) => fileOf(picture));
  if (made < total) process.exitCode = 130;
  if (options.json) {
    const pictures = files.map((file, picture) => ({ file, seed: seedOf(picture) }));
    printJson({ pictures, wanted: total, seconds });
  }
  if (made < total) {
    if (!options.json) console.log(`Interrupted: ${made} of ${total} pictures are in ${output}.`);
    return;
  }
  if (options.grid) await folder.writeGrid(files, run.perRow);
  if (options.npz) await folder.writeNpz(files);
  if (quiet || options.json) return;
  const speed = (total / seconds).toPrecision(3);
  console.log(
    `${total} ${total === 1 ? 'picture' : 'pictures'} in ${seconds.toFixed(1)} s (${speed} per second): ` +
      `${files[0]}${total > 1 ? ` to ${files[total - 1]}` : ''}`,
  );
}

interface Plan {
  readonly common: SampleOptions;
  readonly grouping: Grouping;
  fileOf(picture: number): string;
  seedOf(picture: number): number;
  /** Told how many are finished. */
  finished(count: number): void;
}

/** Makes all pictures, or those that are finished before Ctrl-C. */
function makePictures(
  model: LatentDiffusion,
  options: SamplingCommandOptions,
  run: PictureRun,
  plan: Plan,
): Promise<void> {
  const { total, finish = (_picture: number, pixels: Tensor) => pixels } = run;
  const decode = run.decode ?? ((_picture: number, z: Tensor) => decodeInBatches(model, z, 1));
  const { grouping } = plan;
  const progress = new SampleProgress(total, options);
  return interruptible('Stopping.', async (signal) => {
    let done = 0;
    try {
      while (done < total && !signal.aborted) {
        const group = groupFrom(done, grouping.size, run);
        await tidy(async () => {
          const latents = await sampleGroup(model, withFilling(group, grouping), run, plan, {
            signal,
            onStep: ({ step, steps }) => progress.step(done, group.length, step, steps),
          });
          for (const [i, picture] of group.entries()) {
            const pixels = await noGrad(() => decode(picture, latents.narrow(0, i, 1)));
            const path = plan.fileOf(picture);
            await writeImage(path, await finish(picture, pixels));
            await run.written?.(picture, path);
            plan.finished((done += 1));
          }
        });
      }
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
    } finally {
      progress.stop();
    }
  });
}

function groupFrom(first: number, size: number, { total, kind }: PictureRun): number[] {
  const all = Array.from({ length: Math.min(size, total - first) }, (_, i) => first + i);
  const other = kind ? all.findIndex((picture) => kind(picture) !== kind(first)) : -1;
  return other < 0 ? all : all.slice(0, other);
}

/** Scaled latents of these pictures, all of one kind. */
export async function sampleGroup(
  model: LatentDiffusion,
  pictures: readonly number[],
  { sampling, condition, unconditional }: PictureRun,
  { common, seedOf }: Pick<Plan, 'common' | 'seedOf'>,
  watching: Pick<SampleOptions, 'signal' | 'onStep'>,
): Promise<Tensor> {
  const { latents } = await model.sample({
    ...common,
    ...(await sampling?.(pictures)),
    ...watching,
    seed: pictures.map(seedOf),
    ...(condition && { condition: condition(pictures) }),
    ...(unconditional && { unconditional: unconditional(pictures) }),
    decode: false,
  });
  return latents;
}

/** Moves with every step. */
class SampleProgress {
  readonly #bar: ReturnType<typeof terminalBar>;

  constructor(total: number, options: Pick<SamplingCommandOptions, 'quiet'>) {
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
