// Products of matrices, batched.
//
//   y[n] = op(a[n]) · op(b[n])      op(x) = x or its transpose over the last two axes
//
// a: [batch..., M, C], or [batch..., C, M] with transpose_a; b: [batch..., C, K], or [batch..., K,
// C] with transpose_b; y: [batch..., M, K]. Batch axes broadcast against y's: an axis of size 1 or
// a missing one repeats. One floating dtype; 16-bit floats are summed in float32. C = 0 gives
// zeros. y overlaps neither input.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void matmul_forward(const View& a, const View& b, bool transpose_a,
                                     bool transpose_b, View& y);)
