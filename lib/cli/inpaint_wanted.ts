// What `emulsion inpaint` is asked to make: a text or a class, of models that know such things.
import { tensor } from '../creation.js';
import { readClassNames } from '../io/class_names.js';
import {
  classInputOf,
  defaultClassGuidance,
  defaultTextGuidance,
  inpaintingMode,
  textInputOf,
  type BesideHoles,
  type LatentDiffusionSpec,
} from '../ldm/index.js';
import { askedClasses } from './asked_classes.js';
import type { InpaintCommandOptions } from './inpaint.js';
import { conditionOf } from './other_task.js';
import { idsTensor, tokenizerOf } from './prompts.js';
import { UsageError } from './run.js';

/** What is to be made in every picture of a call. */
export interface Wanted {
  readonly guidance?: number;
  /** For so many pictures. */
  beside(count: number): BesideHoles;
}

const nothing = { beside: () => ({}) };

/**
 * Reads it, for a model that is not loaded yet.
 *
 * @param path the file or folder of the model
 * @throws UsageError when the model cannot be asked for it, or fills no holes
 */
export async function wantedOf(
  options: InpaintCommandOptions,
  spec: LatentDiffusionSpec,
  path: string,
): Promise<Wanted> {
  const { model } = options;
  checkFillsHoles(model, spec);
  const { conditioner = { kind: 'none' }, conditioningKey } = spec;
  if (conditioner.kind === 'none' || conditioningKey === 'concat') {
    refuse(options, ['prompt', 'negative', 'class'], `${model} has no condition to be asked for`);
    refuse(options, ['guidance'], `${model} has no condition to be strengthened`);
    return nothing;
  }
  if (textInputOf(conditioner)) {
    refuse(options, ['class'], `${model} is conditioned on texts: ask for one with --prompt`);
    return textOf(options, spec, path);
  }
  if (classInputOf(spec)) {
    const remedy = `${model} is conditioned on classes: ask for one with --class`;
    refuse(options, ['prompt', 'negative'], remedy);
    return classOf(options, spec, path);
  }
  throw new UsageError(
    `${model} is conditioned on ${conditionOf(spec)}, which this command cannot be given. In a program, inpaint takes ` +
      'any condition.',
  );
}

function checkFillsHoles(model: string, spec: LatentDiffusionSpec): void {
  try {
    inpaintingMode(spec);
  } catch (error) {
    throw new UsageError(`${model}: ${(error as Error).message}`);
  }
}

function refuse(
  options: InpaintCommandOptions,
  names: readonly ('prompt' | 'negative' | 'class' | 'guidance')[],
  why: string,
): void {
  const given = names.filter((name) => options[name] !== undefined);
  if (given.length > 0) throw new UsageError(`${why}; leave --${given.join(' and --')} out.`);
}

async function textOf(
  options: InpaintCommandOptions,
  spec: LatentDiffusionSpec,
  path: string,
): Promise<Wanted> {
  const { prompt, negative, guidance = defaultTextGuidance } = options;
  if (prompt === undefined && negative === undefined) {
    refuse(options, ['guidance'], 'guidance strengthens a text: give --prompt');
    return nothing;
  }
  if (negative !== undefined && guidance === 1)
    throw new UsageError('--negative is what guidance leads away from: --guidance 1 is none.');
  const tokenizer = await tokenizerOf(options, spec, path);
  const [wanted, away] = [prompt, negative].map((text = '') => tokenizer.ids(text));
  const all = (ids: readonly number[], count: number) => idsTensor(new Array(count).fill(ids));
  return {
    guidance,
    beside: (count) => ({
      condition: all(wanted, count),
      ...(guidance !== 1 && { unconditional: all(away, count) }),
    }),
  };
}

async function classOf(
  options: InpaintCommandOptions,
  spec: LatentDiffusionSpec,
  path: string,
): Promise<Wanted> {
  if (options.class === undefined) {
    refuse(options, ['guidance'], 'guidance strengthens a class: give --class');
    if (classInputOf(spec)?.unconditionalClass === undefined)
      throw new UsageError(
        `${options.model} is conditioned on classes, none of which means "none": say with --class what is to be made.`,
      );
    return nothing;
  }
  const names = await readClassNames(path, options.classNames);
  const [id] = askedClasses(spec, [options.class], names);
  return {
    guidance: options.guidance ?? defaultClassGuidance(spec),
    beside: (count) => ({ condition: tensor(new BigInt64Array(count).fill(BigInt(id))) }),
  };
}
