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

namespace emulsion {

static inline void check_timestep_embedding(const View& t, double max_period, bool ddpm,
                                            const View& y) {
  EMULSION_CHECK(t && y, "timestep_embedding: t and y are required");
  EMULSION_CHECK(t.rank() == 1 && y.rank() == 2 && y.dim(0) == t.dim(0),
                 "timestep_embedding: t must be [B] and y [B, dim], got ", t.shape, " and ",
                 y.shape);
  EMULSION_CHECK(y.dim(1) >= (ddpm ? 4 : 2), "timestep_embedding: dim ", y.dim(1), " is too small");
  EMULSION_CHECK(max_period > 0, "timestep_embedding: max_period must be positive, got ",
                 max_period);
  EMULSION_CHECK(y.dtype == DType::float32 || y.dtype == DType::float64,
                 "timestep_embedding: y must be float32 or float64, got ", dtype_name(y.dtype));
}

}  // namespace emulsion
