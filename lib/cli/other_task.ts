// Which command a model is for, by what it is conditioned on.
import type { LatentDiffusionSpec } from '../ldm/index.js';
import { taskOf, type ModelTask } from '../ldm/diffusion/task_of.js';
import { UsageError } from './run.js';

const commands: Readonly<Record<NonNullable<ModelTask['madeBy']>, string>> = {
  classToImage: 'class2img',
  inpaint: 'inpaint',
  layoutToImage: 'layout2img',
  semanticToImage: 'semantic2img',
  textToImage: 'txt2img',
  upscale: 'upscale',
};

function commandFor(spec: LatentDiffusionSpec): string | null {
  const { madeBy } = taskOf(spec);
  if (madeBy) return commands[madeBy];
  return spec.conditioningKey === undefined ? 'sample' : null;
}

/** Completes "the model is conditioned on". */
export const conditionOf = (spec: LatentDiffusionSpec): string => taskOf(spec).condition;

/** @throws UsageError when the model is for another command, and says for which */
export function refuseOtherTask(model: string, spec: LatentDiffusionSpec, command: string): void {
  const own = commandFor(spec);
  if (own === command) return;
  const remedy =
    own === null ? 'In a program, LatentDiffusion.sample takes them.' : `Use emulsion ${own}.`;
  throw new UsageError(`${model} is conditioned on ${conditionOf(spec)}. ${remedy}`);
}
