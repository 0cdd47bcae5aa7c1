// Which command a model is for, by what it is conditioned on.
import { ArgumentError } from '../errors.js';
import {
  classInputOf,
  textInputOf,
  upscalingFactor,
  type HybridSpec,
  type LatentDiffusionSpec,
} from '../ldm/index.js';
import { UsageError } from './run.js';

interface Task {
  /** Completes "the model is conditioned on". */
  readonly condition: string;
  readonly command: string;
}

function taskOf(spec: LatentDiffusionSpec): Task {
  const { conditioner = { kind: 'none' }, conditioningKey } = spec;
  if (conditioner.kind === 'hybrid') return taskOfBoth(conditioner);
  if (classInputOf(spec)) return { condition: 'classes', command: 'class2img' };
  if (textInputOf(conditioner)) return { condition: 'texts', command: 'txt2img' };
  if (isUpscaler(spec)) return { condition: 'small pictures', command: 'upscale' };
  switch (conditioner.kind) {
    case 'none':
      return { condition: 'nothing', command: 'sample' };
    case 'bert':
      return { condition: 'layouts', command: 'layout2img' };
    case 'spatial-rescaler':
      return { condition: 'semantic maps', command: 'semantic2img' };
    case 'first-stage':
      return { condition: 'masked pictures', command: 'inpaint' };
    default:
      return conditioningKey === 'concat'
        ? { condition: 'maps of its own kind', command: '' }
        : { condition: 'embeddings of another network', command: '' };
  }
}

function taskOfBoth(conditioner: HybridSpec): Task {
  const isMasked = ['first-stage', 'masked-latents'].includes(conditioner.concat.kind);
  return isMasked && textInputOf(conditioner)
    ? { condition: 'masked pictures and texts at once', command: 'inpaint' }
    : { condition: 'maps and tokens at once', command: '' };
}

function isUpscaler(spec: LatentDiffusionSpec): boolean {
  try {
    return upscalingFactor(spec) > 1;
  } catch (error) {
    if (error instanceof ArgumentError) return false;
    throw error;
  }
}

/** Completes "the model is conditioned on". */
export const conditionOf = (spec: LatentDiffusionSpec): string => taskOf(spec).condition;

/** @throws UsageError when the model is for another command, and says for which */
export function refuseOtherTask(model: string, spec: LatentDiffusionSpec, command: string): void {
  const task = taskOf(spec);
  if (task.command === command) return;
  const remedy =
    task.command === ''
      ? 'In a program, LatentDiffusion.sample takes them.'
      : `Use emulsion ${task.command}.`;
  throw new UsageError(`${model} is conditioned on ${task.condition}. ${remedy}`);
}
