// Indexing along one axis. Indices are int32 or int64 in [0, extent of the axis); one outside is an
// index_out_of_range error of the op, found before anything is written.
//
//   gather_forward         y[.., i, ..] = x[.., index[.., i, ..], ..]
//   scatter_add_forward    y = x or zeros, then y[.., index[.., i, ..], ..] += src[.., i, ..]
//   index_select_forward   y[.., i, ..] = x[.., ids[i], ..]
//   index_add_forward      y = x or zeros, then y[.., ids[i], ..] += src[.., i, ..]
//   one_hot_forward        y[.., c] = 1 where ids[..] == c, else 0; any dtype of y
//
// index has x's rank and at most its extents on the other axes; gather's y and scatter_add's src
// have index's shape. ids has rank 1. scatter_add is also the gradient of gather, index_add that of
// index_select; an absent x stands for zeros. Additions that meet in one element happen in the
// order of i, in float32 for 16-bit types. Outputs overlap no input. Bandwidth bound, as far as the
// indices allow.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void gather_forward(const View& x, const View& index, int64_t axis, View& y);
                 void scatter_add_forward(const View& x, const View& index, const View& src,
                                          int64_t axis, View& y);
                 void index_select_forward(const View& x, const View& ids, int64_t axis, View& y);
                 void index_add_forward(const View& x, const View& ids, const View& src,
                                        int64_t axis, View& y);
                 void one_hot_forward(const View& ids, View& y);)
