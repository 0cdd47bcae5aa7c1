// The work of `emulsion eval model`: samples that are made to be measured, their features kept on the way.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { noGrad } from '../autograd/index.js';
import { tensor } from '../creation.js';
import { FileError } from '../errors.js';
import { modelHash } from '../eval/hash.js';
import { cutSquare } from '../eval/picture_set.js';
import {
  classBalance,
  generateFeatures,
  loadEvaluation,
  protocolDifferences,
  saveEvaluation,
  withDefaults,
  type Evaluation,
  type FolderRecord,
  type Generation,
} from '../eval/index.js';
import { pixelsOf, writeImage } from '../io/image.js';
import type { Pixels } from '../io/decode_image.js';
import {
  classInputOf,
  decodeInBatches,
  samplingSteps,
  type LatentDiffusion,
} from '../ldm/index.js';
import { tidy } from '../scope.js';
import { askedClasses } from './asked_classes.js';
import type { OpenedModel } from './diffusion_model.js';
import type { ModelCommandOptions } from './eval.js';
import { scoreAgainst } from './eval_folder.js';
import { measuring, openExtractor, tell } from './eval_report.js';
import { refuseOtherTask } from './other_task.js';
import { makeFolder } from './picture_files.js';
import {
  groupingOf,
  openForSampling,
  sampleGroup,
  withFilling,
  type Grouping,
} from './picture_run.js';
import { UsageError } from './run.js';
import { samplerOf } from './samplers.js';

const resultFile = 'result.json';
const pictureFolder = 'pictures';

/** Samples, scores and tells the result; begun again with the same call, it goes on. */
export async function evaluateModel(options: ModelCommandOptions): Promise<void> {
  const { output, count } = options;
  const opened = await openForSampling(options, (spec) => {
    if (classInputOf(spec)) return;
    refuseOtherTask(options.model, spec, 'sample');
    if (options.class || options.guidance !== undefined)
      throw new UsageError(
        `${options.model} is not conditioned on classes: leave --class and --guidance out.`,
      );
  });
  const classes = classesOf(opened, options);
  const { sampling, plan } = await described(opened, options, classes);
  const record: FolderRecord = {
    sampling,
    classes:
      classes &&
      classBalance(
        new Map(classes.map((id, i) => [String(id), shareOf(i, count, classes.length)])),
      ),
    notes: [],
  };
  const extractor = await openExtractor(options);
  await makeFolder(output);
  if (options.pictures) await makeFolder(join(output, pictureFolder));
  try {
    const evaluation = await measuring(
      options,
      (signal, progress) =>
        scoreAgainst(options, extractor, { signal, progress }, async () => {
          const generation = generationOf(opened, options, classes, plan);
          const onProgress = progress.pictures('samples', count);
          const watching = { signal, onProgress };
          return {
            record,
            features: await generateFeatures(output, generation, extractor, watching),
          };
        }),
      `Interrupted. The features so far are in ${output}; the same call goes on.`,
    );
    if (!evaluation) return;
    await tell(evaluation, { json: options.json });
    await saveBeside(join(output, resultFile), evaluation);
  } finally {
    extractor.dispose();
  }
}

// The features serve every reference; a result is of one.
async function saveBeside(path: string, evaluation: Evaluation): Promise<void> {
  const exists = await stat(path).catch(() => null);
  if (exists) {
    const earlier = await loadEvaluation(path);
    const fields = protocolDifferences([earlier.protocol, evaluation.protocol]);
    const scores = [earlier, evaluation].map((each) => Object.keys(each.scores).sort().join());
    const other = [
      ...fields.map(({ field }) => field),
      ...(scores[0] === scores[1] ? [] : ['choice of scores']),
    ];
    if (other.length > 0)
      throw new FileError(
        `is the result of another ${other.join(', ')}: move it away to keep both, or choose another folder.`,
        path,
      );
  }
  await saveEvaluation(path, evaluation);
}

// Picture k is of class k modulo their number, so that every count is as even as it can be.
const shareOf = (index: number, count: number, classes: number): number =>
  Math.ceil((count - index) / classes);

/** The classes that are asked for, or all but the one that means "none"; null for a model without. */
function classesOf(
  { model, classes: names }: OpenedModel,
  { class: asked }: ModelCommandOptions,
): number[] | null {
  const taken = classInputOf(model.spec);
  if (!taken) return null;
  if (asked) return askedClasses(model.spec, asked, names);
  const { nClasses, unconditionalClass } = taken;
  const all = Array.from({ length: nClasses }, (_, id) => id);
  return all.filter((id) => id !== unconditionalClass);
}

async function described(
  { model, path, weights }: OpenedModel,
  options: ModelCommandOptions,
  classes: readonly number[] | null,
): Promise<{ sampling: FolderRecord['sampling']; plan: Generation['plan'] }> {
  const sampler = samplerOf(options);
  const { timesteps } = model.diffusion.schedule;
  const { asked: steps } = samplingSteps(timesteps, sampler);
  const { seed } = options;
  const hash = await modelHash(path);
  const { eta, guidance, spacing } = withDefaults({ ...options }) as Pick<
    FolderRecord['sampling'],
    'eta' | 'guidance' | 'spacing'
  >;
  const { size: batch, filled } = grouped(model, options);
  const how = { weights, sampler: options.sampler, steps, spacing, eta, guidance, seed };
  return {
    sampling: { model: path, modelHash: hash, ...how, condition: null },
    // Where the model lies may change; what decides the pictures, and how they are seen, may not.
    plan: {
      ...{ model: hash, ...how, classes, device: model.betas.device.name },
      ...{ size: options.size, ...(filled && { batch }) },
    },
  };
}

// There are always many pictures, and groups are faster than one after the other.
const grouped = (model: LatentDiffusion, options: ModelCommandOptions): Grouping =>
  groupingOf(model, options, 4);

function generationOf(
  { model }: OpenedModel,
  options: ModelCommandOptions,
  classes: readonly number[] | null,
  plan: Generation['plan'],
): Generation {
  const { count, seed, size, output } = options;
  const grouping = grouped(model, options);
  const classOf = (picture: number) => BigInt(classes![picture % classes!.length]);
  const run = {
    total: count,
    ...(classes && {
      condition: (pictures: readonly number[]) => tensor(BigInt64Array.from(pictures, classOf)),
    }),
  };
  const how = {
    common: { ...samplerOf(options), guidance: options.guidance },
    seedOf: (picture: number) => seed + picture,
  };
  return {
    ...{ total: count, group: grouping.size, plan },
    make: (pictures, signal) =>
      tidy(async () => {
        const group = withFilling(pictures, grouping);
        const latents = await sampleGroup(model, group, run, how, { signal });
        const made: Pixels[] = [];
        for (const [i, picture] of pictures.entries()) {
          const image = await noGrad(() => decodeInBatches(model, latents.narrow(0, i, 1), 1));
          const name = `${String(picture).padStart(6, '0')}.png`;
          if (options.pictures) await writeImage(join(output, pictureFolder, name), image);
          const pixels = await pixelsOf(image);
          made.push(size === undefined ? pixels : cutSquare(pixels, size, name));
        }
        return made;
      }),
  };
}
