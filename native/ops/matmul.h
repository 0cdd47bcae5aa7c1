// Products of matrices, batched.
//
//   y[n] = op(a[n]) · op(b[n])      op(x) = x or its transpose over the last two axes
//
// a: [batch..., M, C], or [batch..., C, M] with transpose_a; b: [batch..., C, K], or [batch..., K,
// C] with transpose_b; y: [batch..., M, K]. Batch axes broadcast against y's: an axis of size 1 or
// a missing one repeats. One floating dtype; 16-bit floats are summed in float32. C = 0 gives
// zeros. y overlaps neither input.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void matmul_forward(const View& a, const View& b, bool transpose_a,
                                     bool transpose_b, View& y);)

namespace emulsion {

static inline void check_batch_axes(const View& operand, const View& y, const char* name) {
  for (int axis = 3; axis <= operand.rank(); ++axis) {
    EMULSION_CHECK(axis <= y.rank(), "matmul_forward: ", name, " ", operand.shape,
                   " has more axes than y ", y.shape);
    const int64_t extent = operand.dim(-axis);
    EMULSION_CHECK(extent == 1 || extent == y.dim(-axis), "matmul_forward: batch axes of ", name,
                   " ", operand.shape, " do not broadcast to those of y ", y.shape);
  }
}

static inline void check_matmul(const View& a, const View& b, bool transpose_a, bool transpose_b,
                                const View& y) {
  EMULSION_CHECK(a && b && y, "matmul_forward: a, b and y must be given");
  EMULSION_CHECK(a.dtype == b.dtype && a.dtype == y.dtype,
                 "matmul_forward: a, b and y must have one dtype");
  EMULSION_CHECK(a.rank() >= 2 && b.rank() >= 2 && y.rank() >= 2,
                 "matmul_forward: matrices have two axes or more");
  const int64_t rows = y.dim(-2), columns = y.dim(-1), depth = a.dim(transpose_a ? -2 : -1);
  EMULSION_CHECK(a.dim(transpose_a ? -1 : -2) == rows && b.dim(transpose_b ? -1 : -2) == depth &&
                     b.dim(transpose_b ? -2 : -1) == columns,
                 "matmul_forward: ", a.shape, " times ", b.shape, " does not give ", y.shape);
  check_batch_axes(a, y, "a");
  check_batch_axes(b, y, "b");
}

}  // namespace emulsion
