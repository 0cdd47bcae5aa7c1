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

#include "ops/kernels.h"

EMULSION_KERNELS(void pad_forward(const View& x, const Shape& before, int64_t mode, double value,
                                  View& y);
                 void pad_backward(const View& dy, const Shape& before, int64_t mode, View& dx);)
