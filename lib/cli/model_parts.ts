// The networks of a model by name, and how many parameters each has: counted without building any.
import {
  conditionerShapes,
  firstStageShapes,
  unetShapes,
  type FirstStageSpec,
  type LatentDiffusionSpec,
} from '../ldm/index.js';

/** The networks of a diffusion model. A first stage that is the conditioner too counts once. */
export function diffusionParts(spec: LatentDiffusionSpec): [name: string, parameters: number][] {
  const { unet, firstStage, conditioner = { kind: 'none' } } = spec;
  const own = valuesIn(conditionerShapes(conditioner, { kind: 'identity' }));
  return [
    ['network', valuesIn(unetShapes(unet))],
    ['first stage', firstStageParameters(firstStage)],
    ...(own > 0 ? [['conditioner', own] as [string, number]] : []),
  ];
}

/** Trained values of a first stage, without colours of labels and what a codebook keeps of its past. */
export function firstStageParameters(spec: FirstStageSpec): number {
  const moves = 'codebookEma' in spec && spec.codebookEma !== undefined;
  const trained = [...firstStageShapes(spec)].filter(
    ([key]) =>
      !['colorize', 'quantize.used', 'quantize.code_uses'].includes(key) &&
      !(moves && key.startsWith('quantize.')),
  );
  return valuesIn(new Map(trained));
}

const valuesIn = (shapes: ReadonlyMap<string, readonly number[]>): number =>
  [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
