/** The loop around a sampler's step: ownership of tensors, cancelling, turns of the event loop. */
import { noGrad } from '../../autograd/index.js';
import { keep, tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import {
  breathe,
  RunNoise,
  runningSteps,
  type SamplerOptions,
  type SamplerRun,
  type SamplerStep,
  type StepPlan,
} from './sampler.js';

/** A step as its function sees it. */
export interface StepPlace {
  /** position in the plan: the last step has 0 */
  readonly index: number;
  /** 0 is the first */
  readonly step: number;
  readonly noise: RunNoise;
}

/** Latent and estimate after a step, made without recording gradients. */
export type StepFunction = (latent: Tensor, place: StepPlace) => { latent: Tensor; predX0: Tensor };

/** Runs the plan from its noisy end, or from where a picture was noised to. */
export async function* runSteps(
  plan: StepPlan,
  options: SamplerOptions,
  advance: StepFunction,
  release: () => void = () => {},
): SamplerRun {
  const noise = new RunNoise(options);
  const steps = runningSteps(plan.timesteps.length, options.image, plan.asked);
  const initial = keep(tidy(() => noGrad(() => noise.initial(plan, steps))));
  let current: SamplerStep = {
    step: -1,
    steps,
    timestep: plan.timesteps[Math.max(0, steps - 1)],
    latent: initial,
    predX0: initial,
  };
  let finished = false;
  try {
    for (let step = 0; step < steps; step++) {
      options.signal?.throwIfAborted();
      const index = steps - 1 - step;
      const made = tidy(() =>
        noGrad(() => {
          const { latent, predX0 } = advance(current.latent, { index, step, noise });
          // The estimate may be the very tensor that the network gave, and that one may be kept.
          return { latent, predX0: predX0.alias() };
        }),
      );
      disposeStep(current);
      finished = step === steps - 1;
      if (!finished) {
        // the run's own; the last step's go to the scope of whoever iterates
        keep(made.latent);
        keep(made.predX0);
      }
      current = { ...current, ...made, step, timestep: plan.timesteps[index] };
      yield current;
      await breathe();
    }
    if (steps > 0) return current;
    finished = true;
    return { ...current, predX0: initial.alias() };
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
