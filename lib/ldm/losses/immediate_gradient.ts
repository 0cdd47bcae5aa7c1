/** Gradients taken where a value is made, so that a deep network behind it is walked and freed at once. */
import { grad, isGradEnabled, op } from '../../autograd/index.js';
import { detach, mul, sum } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';

/**
 * `perImage(images)`, one value per image, with the gradient by the images computed now. A walk through the
 * result later only multiplies by it: what `perImage` saved is free before the next network runs, and any
 * number of walks (the adaptive weight takes one more) costs one.
 *
 * @param perImage images [N, H, W, C] to [N, 1, 1, 1]; each value depends on its own image alone, and no
 * parameter in it is trained
 */
export function immediateGradient(images: Tensor, perImage: (images: Tensor) => Tensor): Tensor {
  if (!isGradEnabled() || !images.requiresGrad) return perImage(images);
  const [values, gradient] = tidy(() => {
    const leaf = detach(images);
    leaf.requiresGrad = true;
    // What only its handles held is free before the walk, all else as the walk proceeds.
    const values = tidy(() => perImage(leaf));
    // As no value sees another's image, the gradient of the sum holds that of each value.
    const [gradient] = grad(sum(values), [leaf]);
    return [detach(values), gradient];
  });
  return op({
    name: 'immediateGradient',
    inputs: [images],
    output: values,
    save: [gradient],
    backward: ([dy], [saved]) => [mul(dy, saved.to(dy.dtype)).to(saved.dtype)],
  });
}
