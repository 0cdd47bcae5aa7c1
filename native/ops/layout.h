// Data movement: every op that only chooses where a value goes. Values are copied bit for bit, so kernels
// look at the width of an element, not at its dtype (except where padding adds gradients).
//
// strided_copy     y[i0, i1, ...] = x[offset + i0 strides[0] + i1 strides[1] + ...], strides in elements, any
//                  sign, zero to repeat. One kernel is permute, slice, flip, expand and split. y is dense; every
//                  element addressed must lie inside x; same dtype; strides has y's rank.
// concat           y = the xs one after the other along axis; all other extents equal, same dtype.
// pad_forward      y[i + before] = x[i] inside; outside by mode: 0 constant (value), 1 reflect (the edge is not
//                  repeated; every pad < extent), 2 replicate. The pad after an axis follows from y's shape.
// pad_backward     dx[i] = sum of dy over all places that pad_forward (modes 1 and 2) filled from x[i]; floating
//                  dtypes; summed in a fixed order, 16-bit types in float32.
// No output may overlap an input. Bandwidth bound: each kernel reads and writes every byte about once.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(
  void strided_copy(const View& x, const Shape& strides, int64_t offset, View& y);
  void concat(const Views& xs, int64_t axis, View& y);
  void pad_forward(const View& x, const Shape& before, int64_t mode, double value, View& y);
  void pad_backward(const View& dy, const Shape& before, int64_t mode, View& dx);
)
