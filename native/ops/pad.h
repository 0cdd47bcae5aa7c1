// Padding at the borders: y[i + before] = x[i] inside; outside by mode.
//
//   pad_forward    0 constant: value; 1 reflect: mirrored without the edge, every pad below the
//                  extent; 2 replicate: the edge
//   pad_backward   dx[i] = sum of dy over all places that pad_forward filled from x[i]; modes 1 and
//                  2 (the gradient of mode 0 is a slice); floating dtypes
//
// The pad after an axis follows from y's shape. Sums have a fixed order, in float32 for 16-bit
// types. Outputs overlap no input. Bandwidth bound.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void pad_forward(const View& x, const Shape& before, int64_t mode, double value,
                                  View& y);
                 void pad_backward(const View& dy, const Shape& before, int64_t mode, View& dx);)

namespace emulsion {

enum PadMode { pad_constant = 0, pad_reflect = 1, pad_replicate = 2 };

static inline void check_pad(const char* op, const Shape& x, const Shape& before, int64_t mode,
                             const Shape& y) {
  EMULSION_CHECK(mode >= pad_constant && mode <= pad_replicate, op, ": unknown mode ", mode);
  EMULSION_CHECK(x.rank() == y.rank() && before.rank() == x.rank(), op, ": x ", x, ", before ",
                 before, " and y ", y, " must have one rank");
  for (int k = 0; k < x.rank(); ++k) {
    const int64_t after = y[k] - x[k] - before[k];
    EMULSION_CHECK(before[k] >= 0 && after >= 0, op, ": negative pad on axis ", k);
    EMULSION_CHECK(
        mode != pad_reflect || (before[k] < x[k] && after < x[k]) || (before[k] == 0 && after == 0),
        op, ": reflecting needs pads smaller than the extent ", x[k], " of axis ", k);
    EMULSION_CHECK(mode != pad_replicate || x[k] > 0 || y[k] == 0, op,
                   ": nothing to replicate on axis ", k);
  }
}

static inline void check_pad_forward(const View& x, const Shape& before, int64_t mode,
                                     const View& y) {
  EMULSION_CHECK(x && y, "pad_forward: x and y are required");
  EMULSION_CHECK(x.dtype == y.dtype, "pad_forward: x is ", dtype_name(x.dtype), ", y is ",
                 dtype_name(y.dtype));
  check_pad("pad_forward", x.shape, before, mode, y.shape);
}

static inline void check_pad_backward(const View& dy, const Shape& before, int64_t mode,
                                      const View& dx) {
  EMULSION_CHECK(dy && dx, "pad_backward: dy and dx are required");
  EMULSION_CHECK(dx.dtype == dy.dtype, "pad_backward: dy is ", dtype_name(dy.dtype), ", dx is ",
                 dtype_name(dx.dtype));
  EMULSION_CHECK(mode != pad_constant, "pad_backward: the gradient of a constant pad is a slice");
  check_pad("pad_backward", dx.shape, before, mode, dy.shape);
}

}  // namespace emulsion
