// Random numbers as a function of (seed, stream, step, sample, element): Philox 4x32-10, the same
// bits on every device, instruction set, thread count and batch size.
//
//   random_normal        mean + std · n, n by Box-Muller from word pairs (core/normal.h); floating
//   random_uniform       low + (high - low) · u, u a multiple of 2^-24 in [0, 1), of 2^-11 for
//                        float16 and 2^-8 for bfloat16; low for what rounds up to high; floating
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

#include "ops/checks.h"

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

namespace emulsion {

// Of streams, steps and sample numbers.
inline constexpr int64_t random_limit = int64_t{1} << 32;

EMULSION_INLINE int64_t random_rows(const View& y) { return y.rank() == 0 ? 1 : y.dim(0); }

// Where numbers come from; the values of `samples` are left to the engine that reads them.
static inline int64_t checked_random_rows(const char* op, int64_t stream, int64_t step,
                                          int64_t first_sample, const View& seeds,
                                          const View& samples, const View& y) {
  EMULSION_CHECK(y, op, ": y is required");
  const int64_t rows = random_rows(y);
  EMULSION_CHECK(stream >= 0 && stream < random_limit && step >= 0 && step < random_limit, op,
                 ": stream and step must lie in [0, 2^32), got ", stream, " and ", step);
  EMULSION_CHECK(first_sample >= 0 && first_sample + rows <= random_limit, op,
                 ": sample numbers must stay below 2^32");
  for (const View* list : {&seeds, &samples})
    EMULSION_CHECK(!*list || (list->dtype == DType::int64 && list->numel() == rows), op,
                   ": seeds and samples must be int64, one for each of ", rows, " rows, got ",
                   list->shape);
  return rows;
}

static inline void check_random_uniform(double low, double high) {
  EMULSION_CHECK(low <= high, "random_uniform: low ", low, " must not be above high ", high);
}

static inline void check_random_integers(int64_t low, int64_t high, const View& y) {
  EMULSION_CHECK(low < high, "random_integers: low ", low, " must be below high ", high);
  EMULSION_CHECK(y.dtype != DType::boolean, "random_integers: y must not be bool");
}

static inline void check_dropout(double p, const View& x, const View& y) {
  EMULSION_CHECK(x && alike(x, y), "dropout: x ", x.shape, " and y ", y.shape, " must match");
  EMULSION_CHECK(p >= 0 && p < 1, "dropout: p must lie in [0, 1), got ", p);
}

static inline void check_random_permutation(const View& y) {
  EMULSION_CHECK(y.dtype == DType::int64 && y.rank() == 1,
                 "random_permutation: y must be int64 of rank 1");
}

}  // namespace emulsion
