// Ops whose result depends on positions along one axis of x [outer, n, inner]; axis in [0, rank).
//
//   cumsum         y_i = Σ_{j <= i} x_j, or Σ_{j >= i} if `reverse`; dtypes as x: floating or
//   integer arg_extreme    y = index of the largest (or smallest) value, the first of equals; a NaN
//   counts as
//                  both, the first one wins. y is int64 with the axis of extent 1 or left out; n >
//                  0
//   topk_forward   the k largest (or smallest) values in order and their int64 indices, the lower
//   index
//                  first among equals; NaN as in arg_extreme. values, indices [outer, k, inner]
//   topk_backward  dx = 0, then dx[indices] += dy
//
// Floating sums run in float64. Latency-bound along the axis, parallel over the others.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(                                                                               //
    void cumsum(const View& x, int64_t axis, bool reverse, View& y);                            //
    void arg_extreme(const View& x, int64_t axis, bool largest, View& y);                       //
    void topk_forward(const View& x, int64_t axis, bool largest, View& values, View& indices);  //
    void topk_backward(const View& indices, const View& dy, int64_t axis, View& dx);)
