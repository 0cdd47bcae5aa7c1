/** A denoiser whose work a device records once and replays in every later step of a sampling run. */
import { capture, type CapturedStep } from '../../capture.js';
import type { DType } from '../../dtype.js';
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from './gaussian_diffusion.js';

/**
 * Runs body with a denoiser that gives what `denoise` gives, bit for bit, and is captured (see {@link capture}).
 * The recording is given back when body ends, however it ends. Latents keep their shape, weights their values.
 */
export async function withCapture<T>(
  denoise: Denoiser,
  body: (captured: Denoiser) => Promise<T>,
): Promise<T> {
  // Initial latents in 16 bits go on in float32 where noise or a mask has that.
  const steps = new Map<DType, CapturedStep<[Tensor, Tensor], Tensor>>();
  const stepOf = (dtype: DType) => {
    const step = steps.get(dtype) ?? capture(denoise, { fixedWeights: true });
    steps.set(dtype, step);
    return step;
  };
  try {
    // Some solvers visit timesteps between whole ones, too. And samplers remember what they are given, which the
    // next call overwrites: theirs is a copy.
    return await body((x, t) => stepOf(x.dtype)(x, t.to('float32')).mul(1));
  } finally {
    for (const step of steps.values()) step.dispose();
  }
}
