// The nearest code of every vector: the search of vector quantisation.
//
//   indices[n] = argmin over k of |vectors[n] - codes[k]|², the first of equals
//
// vectors: [N, D], codes: [K, D], K > 0, floating and of one dtype; indices: int64 [N].
// Compared is |e|²/2 - z·e, which orders the codes of a vector alike, in float32 (float64 for
// float64); equal codes have equal numbers. A code that holds a NaN is never the nearest; a vector
// that holds one has index 0. No distance is written to memory. Bound by arithmetic: 2 N K D
// operations.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void nearest_codes(const View& vectors, const View& codes, View& indices);)

namespace emulsion {

static inline void check_nearest_codes(const View& vectors, const View& codes,
                                       const View& indices) {
  EMULSION_CHECK(vectors && codes && indices,
                 "nearest_codes: vectors, codes and indices are required");
  EMULSION_CHECK(vectors.rank() == 2 && codes.rank() == 2 && vectors.dim(1) == codes.dim(1),
                 "nearest_codes: vectors must be [N, D] and codes [K, D], got ", vectors.shape,
                 " and ", codes.shape);
  EMULSION_CHECK(is_floating(codes.dtype) && vectors.dtype == codes.dtype,
                 "nearest_codes: vectors and codes must be floating and of one dtype");
  EMULSION_CHECK(codes.dim(0) > 0 && codes.dim(0) <= INT32_MAX,
                 "nearest_codes: the number of codes must lie in [1, 2^31), got ", codes.dim(0));
  EMULSION_CHECK(indices.dtype == DType::int64 && indices.numel() == vectors.dim(0),
                 "nearest_codes: indices must be int64 and one per vector, got ", indices.shape);
}

}  // namespace emulsion
