/** ActNorm: a scale and a shift per channel that start from the data (Kingma and Dhariwal, 2018). */
import { full, ones, zeros } from '../../creation.js';
import { noGrad } from '../../autograd/index.js';
import { checkShape } from '../../errors.js';
import { buffer, channelVector, Module, parameter, type FileLayout } from '../../nn/index.js';
import { add, mean, mul, neg, reciprocal, std } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';

/**
 * scale · (x + loc) per channel of [N, H, W, C]. The first forward pass in training sets both so that its
 * result has mean 0 and deviation 1 in every channel; from then on they are ordinary parameters.
 */
export class ActNorm extends Module<[Tensor], Tensor> {
  readonly loc: Tensor; // [C]
  readonly scale: Tensor; // [C]
  readonly initialized: Tensor; // [], uint8: 1 once the data has set the others
  #isInitialized = false;

  constructor(readonly channels: number) {
    super();
    this.loc = parameter(zeros([channels]));
    this.scale = parameter(ones([channels]));
    this.initialized = buffer(zeros([], { dtype: 'uint8' }));
  }

  forward(x: Tensor): Tensor {
    if (this.training && !this.#isInitialized) this.#initialize(x);
    return mul(add(x, this.loc), this.scale);
  }

  // The flag is read once: a checkpoint may have come between the constructor and the first pass.
  #initialize(x: Tensor): void {
    if (this.initialized.itemSync() === 0) {
      checkShape(x.numel > this.channels, () => {
        return `ActNorm: the first pass needs more than one value per channel, got [${x.shape.join(', ')}]`;
      });
      const axes = [0, 1, 2];
      noGrad(() =>
        tidy(() => {
          const loc = neg(mean(x, axes)).to(this.loc.dtype);
          const scale = reciprocal(std(x, axes).add(1e-6)).to(this.scale.dtype);
          const initialized = full([], 1, this.initialized);
          this.loadStateDict({ loc, scale, initialized });
        }),
      );
    }
    this.#isInitialized = true;
  }

  override facts(): string {
    return String(this.channels);
  }

  override fileLayout(field: string): FileLayout | null {
    return field === 'initialized' ? null : channelVector;
  }
}
