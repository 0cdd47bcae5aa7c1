// Random numbers as a function of (seed, stream, step, sample, element): Philox 4x32-10, the same
// bits on every device, instruction set, thread count and batch size.
//
//   random_normal        mean + std · n, n by Box-Muller from word pairs (core/normal.h); floating
//   random_uniform       low + (high - low) · u, u a multiple of 2^-24 in [0, 1); floating
//   random_integers      low + floor(w (high - low) / 2^64), w of 64 bits; any dtype but bool
//   random_bernoulli     1 with probability p, else 0; any dtype
//   dropout              x / (1 - p) where u >= p, else 0; also its own gradient, with dy for x
//   random_permutation   0..n-1 in random order (Fisher-Yates), a single row; int64 of rank 1
//
// The rows of y are its slices along the first axis (one row when y is a scalar). Row b has the
// sample number samples[b], or first_sample + b when samples is absent, and the seed seeds[b], or
// `seed` when seeds is absent; dropout counts samples from 0. Element e of a row takes words of
// block (step << 32) + e / 4 (random_integers: e / 2), so a row does not depend on its neighbours.
// Values are computed in float32 and rounded once to y's dtype. Step, stream and sample numbers are
// below 2^32, rows below 2^34 elements.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(
    void random_normal(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                       const View& seeds, const View& samples, double mean, double std, View& y);
    void random_uniform(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                        const View& seeds, const View& samples, double low, double high, View& y);
    void random_integers(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                         const View& seeds, const View& samples, int64_t low, int64_t high,
                         View& y);
    void random_bernoulli(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                          const View& seeds, const View& samples, double p, View& y);
    void dropout(int64_t seed, int64_t stream, int64_t step, double p, const View& x, View& y);
    void random_permutation(int64_t seed, int64_t stream, int64_t step, View& y);)
