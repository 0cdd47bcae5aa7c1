/** What stands for "nothing" in the place of a condition, which guidance leads away from (paper, section 4.3.1). */
import { full, zerosLike } from '../../creation.js';
import { ArgumentError, check } from '../../errors.js';
import { concat, where } from '../../ops/index.js';
import { Tensor } from '../../tensor.js';
import { hybridInput, isHybrid, type ConditionInput } from './condition_input.js';
import { withoutKind, type ConditionerSpec } from './conditioner.js';
import { clipTextEncoderConfig } from './text/clip_text_encoder.js';

// Of bert-base-uncased, which reads "" as a beginning, an end and padding.
const emptyCaption = [101, 102];

/**
 * What stands for "nothing" beside a given input, of its shape: the class that means none, the empty caption,
 * a map without labels, or zeros where embeddings are given.
 *
 * @throws ArgumentError when the conditioner has no such input
 */
export function unconditionalInput(spec: ConditionerSpec, like: Tensor): Tensor {
  switch (spec.kind) {
    case 'class': {
      const none = spec.unconditionalClass;
      check(none !== undefined, () => {
        return (
          'conditioner: no class of the embedder means "none". Give unconditionalClass in its spec (ImageNet ' +
          'with 1001 classes has 1000), or the unconditional input itself.'
        );
      });
      return zerosLike(like).add(none);
    }
    case 'bert': {
      const { useTokenizer = true, unconditionalToken } = spec;
      if (unconditionalToken !== undefined) return zerosLike(like).add(unconditionalToken);
      check(useTokenizer, () => {
        return (
          'conditioner: tokens that are no captions have no empty form. Give unconditionalToken in its spec (8191 ' +
          'for layouts), or the unconditional input itself.'
        );
      });
      return everywhere(like, emptyCaption, 0);
    }
    case 'clip': {
      const { vocabSize } = clipTextEncoderConfig(withoutKind(spec));
      // a beginning, then nothing but ends
      return everywhere(like, [vocabSize - 2], vocabSize - 1);
    }
    case 'identity':
    case 'spatial-rescaler':
      return zerosLike(like);
    default:
      throw new ArgumentError(
        `conditioner: nothing stands for "none" with a conditioner of kind ${spec.kind}. Give the ` +
          'unconditional input itself.',
      );
  }
}

// The same row of ids for each of a batch: some, then one to the end. Nothing is uploaded, so that it can be captured.
function everywhere(like: Tensor, first: readonly number[], rest: number): Tensor {
  const [, length] = like.shape;
  const shown = first.slice(0, length);
  const runs = shown.map((id) => full([1], id, like));
  return zerosLike(like).add(concat([...runs, full([length - shown.length], rest, like)]));
}

/**
 * What stands for "nothing" beside an input. Of a map with tokens only the tokens go: the map says what is there,
 * the tokens what is wanted, and guidance is to strengthen the latter.
 *
 * @throws ArgumentError when the conditioner has no such input
 */
export function unconditionalCondition(
  spec: ConditionerSpec,
  like: ConditionInput,
): ConditionInput {
  if (spec.kind === 'hybrid') {
    const { concat: map, crossattn } = hybridInput(like);
    return { concat: map, crossattn: unconditionalInput(spec.crossattn, crossattn) };
  }
  check(like instanceof Tensor, () => {
    return 'LatentDiffusion: nothing stands for "no image". Give the unconditional input itself.';
  });
  return unconditionalInput(spec, like);
}

/** @internal Puts `nothing` in the place of the samples that `dropped`, bool [N], chooses. */
export function dropCondition(
  input: ConditionInput,
  nothing: ConditionInput,
  dropped: Tensor,
): ConditionInput {
  const drop = (given: Tensor, none: Tensor) =>
    where(dropped.reshape([-1, ...none.shape.slice(1).map(() => 1)]), none, given);
  if (!isHybrid(input)) return drop(input as Tensor, nothing as Tensor);
  return { ...input, crossattn: drop(input.crossattn, hybridInput(nothing).crossattn) };
}
