/** Layouts of patches: the condition says of each which part of the canvas it is (paper, appendix E.2.1). */
import { tensor } from '../../creation.js';
import { check } from '../../errors.js';
import { concat, expand } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import { Tensor } from '../../tensor.js';
import { LayoutTokens, type ConditionerSpec, type ConditionInput } from '../conditioning/index.js';
import type { NetworkConditioning } from './diffusion_wrapper.js';
import { PatchGrid, type Patch, type PatchOptions } from './patch_grid.js';

/**
 * What every patch of latents of h x w is conditioned on: the layout, whose last two tokens are the corners of the
 * patch in the canvas. Encoded once for each patch.
 *
 * @param input token ids [N, T]
 * @param encode of the tokens of one patch
 * @throws ArgumentError when the model is conditioned on something else than layouts
 */
export function layoutsOfPatches(
  conditioner: ConditionerSpec,
  input: ConditionInput | undefined,
  [h, w]: readonly [number, number],
  options: PatchOptions,
  encode: (tokens: Tensor) => NetworkConditioning,
): (patch: Patch) => NetworkConditioning {
  check(
    conditioner.kind === 'bert' &&
      conditioner.useTokenizer === false &&
      input instanceof Tensor &&
      input.rank === 2 &&
      input.shape[1] > 2,
    () => {
      return `patches: cropTokens is for layouts given as tokens [N, T], not for a conditioner of kind ${conditioner.kind}.`;
    },
  );
  const vocabulary = new LayoutTokens({ categories: 1, vocabSize: conditioner.vocabSize });
  const layouts = new PatchGrid(h, w, options).patches.map(({ row, column, ...patch }) => {
    const box = {
      x: patch.left / w,
      y: patch.top / h,
      width: patch.width / w,
      height: patch.height / h,
    };
    const corners = vocabulary.encode([], { crop: box }).slice(-2);
    return [`${row} ${column}`, tidy(() => encode(withCrop(input, corners)))] as const;
  });
  const byPlace = new Map(layouts);
  return ({ row, column }) => byPlace.get(`${row} ${column}`)!;
}

function withCrop(tokens: Tensor, corners: readonly number[]): Tensor {
  const [N, T] = tokens.shape;
  const { dtype, device } = tokens;
  const last = expand(tensor([corners], { dtype, device }), [N, 2]);
  return concat([tokens.narrow(1, 0, T - 2), last], 1);
}
