// Indexing along one axis. Indices are int32 or int64 and must lie in [0, extent of the axis); one outside is an
// index_out_of_range error of the op, found before anything is written.
//
// gather_forward       y[.., i, ..] = x[.., index[.., i, ..], ..]: index has x's rank and at most its extents on
//                      the other axes; y has index's shape.
// scatter_add_forward  y = x (zeros when absent), then y[.., index[.., i, ..], ..] += src[.., i, ..]; src has
//                      index's shape. Also the gradient of gather.
// index_select_forward y[.., i, ..] = x[.., ids[i], ..] for whole slices; ids of rank 1.
// index_add_forward    y = x (zeros when absent), then y[.., ids[i], ..] += src[.., i, ..]. Also the gradient of
//                      index_select.
// one_hot_forward      y[.., c] = 1 where ids[..] == c, else 0; any dtype of y.
// Additions that meet in one element happen in the order of i (deterministic), 16-bit types in float32. No output
// may overlap an input. Bandwidth bound, as far as the indices allow.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(
  void gather_forward(const View& x, const View& index, int64_t axis, View& y);
  void scatter_add_forward(const View& x, const View& index, const View& src, int64_t axis, View& y);
  void index_select_forward(const View& x, const View& ids, int64_t axis, View& y);
  void index_add_forward(const View& x, const View& ids, const View& src, int64_t axis, View& y);
  void one_hot_forward(const View& ids, View& y);
)
