/** What a diffusion model is conditioned on, as its network takes it (paper, section 3.3). */
import { ArgumentError, check } from '../../errors.js';
import { concat, ge, resize, where } from '../../ops/index.js';
import { Tensor } from '../../tensor.js';
import { encodePart, hybridInput } from '../conditioning/condition_input.js';
import { HybridConditioner, type ConditionInput, type MaskedImage } from '../conditioning/index.js';
import type { NetworkConditioning } from './diffusion_wrapper.js';
import type { LatentDiffusion } from './latent_diffusion.js';

/** @internal Encodes with the model's own conditioner. @throws ArgumentError when it has none for such an input */
export function encodeCondition(
  model: LatentDiffusion,
  input: ConditionInput,
): NetworkConditioning {
  const { cond_stage_model: stage, conditioner, spec } = model;
  if (stage instanceof HybridConditioner) return stage.forward(hybridInput(input));
  if (conditioner.kind === 'hybrid') {
    const { concat: masked, crossattn } = hybridInput(input);
    const context = encodePart(conditioner.crossattn, stage, crossattn);
    return { concat: maskedLatents(model, masked), context };
  }
  const encoded = encodePart(conditioner, stage, input);
  switch (spec.conditioningKey) {
    case 'concat':
      return { concat: encoded };
    case 'crossattn':
      return { context: encoded };
    case 'adm':
      return { y: encoded };
    default:
      throw new ArgumentError(
        `LatentDiffusion: with the conditioning key ${spec.conditioningKey ?? 'none'} nothing is encoded ` +
          'from a single input. Give the conditioning itself.',
      );
  }
}

// As Stable Diffusion's models saw it: holes are grey, and 1 in a mask that is 0 elsewhere.
function maskedLatents(model: LatentDiffusion, input: Tensor | MaskedImage): Tensor {
  check(!(input instanceof Tensor), () => {
    return 'LatentDiffusion: what is joined is a masked image and its mask, not one tensor.';
  });
  const hole = ge(input.mask, 0);
  const latents = model.encode(where(hole, 0, input.image));
  const [, height, width] = latents.shape;
  const mask = resize(hole.to(latents.dtype), { size: [height, width], mode: 'nearest' });
  return concat([mask, latents], 3);
}
