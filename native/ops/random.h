// Random numbers as a function of (seed, stream, step, sample, element): Philox 4x32-10, the same bits on every
// device, instruction set, thread count and batch size.
//
// The rows of y are its slices along the first axis (one row when y is a scalar). Row b has the sample number
// samples[b], or first_sample + b when samples is absent, and the seed seeds[b], or `seed` when seeds is absent.
// Element e of a row takes words of block (step << 32) + e / 4 (random_integers: e / 2). So a row's numbers do not
// depend on its neighbours.
//
// random_normal     mean + std · n, n by Box-Muller from word pairs (core/normal.h); floating dtypes
// random_uniform    low + (high - low) · u, u a multiple of 2^-24 in [0, 1); floating dtypes
// random_integers   low + floor(w (high - low) / 2^64), w of 64 bits; any dtype but bool
// random_bernoulli  1 with probability p, else 0; any dtype
// dropout           x / (1 - p) where u >= p, else 0: also its own gradient, with dy for x; y has x's shape
// random_permutation  0..n-1 in random order (Fisher-Yates); int64, rank 1, always a single row
// Values are computed in float32 and rounded once to y's dtype (float64 holds the float32 value). Limits: step,
// stream and sample numbers below 2^32, rows below 2^34 elements.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(
  void random_normal(int64_t seed, int64_t stream, int64_t step, int64_t first_sample, const View& seeds,
                     const View& samples, double mean, double std, View& y);
  void random_uniform(int64_t seed, int64_t stream, int64_t step, int64_t first_sample, const View& seeds,
                      const View& samples, double low, double high, View& y);
  void random_integers(int64_t seed, int64_t stream, int64_t step, int64_t first_sample, const View& seeds,
                       const View& samples, int64_t low, int64_t high, View& y);
  void random_bernoulli(int64_t seed, int64_t stream, int64_t step, int64_t first_sample, const View& seeds,
                        const View& samples, double p, View& y);
  void dropout(int64_t seed, int64_t stream, int64_t step, double p, const View& x, View& y);
  void random_permutation(int64_t seed, int64_t stream, int64_t step, View& y);
)
