// Sinusoidal embedding of diffusion times, as the latent-diffusion networks expect them.
//
// With half = dim / 2 (rounded down), f[i] = exp(-ln(max_period)·i / half) and t of shape [B]:
//   ldm:  y[b] = [cos(t·f[0..half)), sin(t·f[0..half))]
//   ddpm: y[b] = [sin(t·f[0..half)), cos(t·f[0..half))] with i / (half - 1) in f
// An odd dim ends in a zero. t: any dtype, fractions allowed. y: [B, dim], float32, whose
// frequencies and phases are computed in float32 as in the reference (a phase of 999 rad keeps
// 1e-4), or float64. Not differentiable.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void timestep_embedding(const View& t, double max_period, bool ddpm, View& y);)
