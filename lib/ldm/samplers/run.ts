/** The loop around a sampler's step: ownership of tensors, cancelling, turns of the event loop. */
import { noGrad } from '../../autograd/index.js';
import { keep, tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import {
  breathe,
  RunNoise,
  type SamplerOptions,
  type SamplerRun,
  type SamplerStep,
} from './sampler.js';

/** Latent and estimate after a step, made without recording gradients. */
export type StepFunction = (
  latent: Tensor,
  step: number,
  noise: RunNoise,
) => { latent: Tensor; predX0: Tensor };

/** @param descending training timesteps, noisiest first */
export async function* runSteps(
  descending: readonly number[],
  options: SamplerOptions,
  advance: StepFunction,
  release: () => void = () => {},
): SamplerRun {
  const noise = new RunNoise(options);
  const initial = keep(noise.initial());
  let current: SamplerStep = {
    step: -1,
    steps: descending.length,
    timestep: descending[0],
    latent: initial,
    predX0: initial,
  };
  let finished = false;
  try {
    for (let step = 0; step < descending.length; step++) {
      options.signal?.throwIfAborted();
      const made = tidy(() =>
        noGrad(() => {
          const { latent, predX0 } = advance(current.latent, step, noise);
          // The estimate may be the very tensor that the network gave, and that one may be kept.
          return { latent, predX0: predX0.alias() };
        }),
      );
      disposeStep(current);
      finished = step === descending.length - 1;
      if (!finished) {
        // the run's own; the last step's go to the scope of whoever iterates
        keep(made.latent);
        keep(made.predX0);
      }
      current = { ...current, ...made, step, timestep: descending[step] };
      yield current;
      await breathe();
    }
    return current;
  } finally {
    // an abandoned run owns its last step; a finished one has given it away
    if (!finished) disposeStep(current);
    release();
  }
}

function disposeStep({ latent, predX0 }: SamplerStep): void {
  latent.dispose();
  predX0.dispose();
}
