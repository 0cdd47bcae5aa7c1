// Data movement: ops that only choose where a value goes. Values are copied bit for bit, so kernels
// look at the width of an element and not at its dtype.
//
//   strided_copy   y[i0, i1, ...] = x[offset + i0 strides[0] + i1 strides[1] + ...]
//   concat         y = the xs one after the other along axis
//
// strided_copy: strides in elements, of any sign, zero to repeat; one kernel is permute, slice,
// flip, expand and split. Every element addressed must lie inside x; strides has y's rank. concat:
// all other extents are equal. One dtype throughout. y is dense and overlaps no input. Bandwidth
// bound: every byte is read and written about once.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void strided_copy(const View& x, const Shape& strides, int64_t offset, View& y);
                 void concat(const Views& xs, int64_t axis, View& y);)

namespace emulsion {

static inline void check_strided_copy(const View& x, const Shape& strides, int64_t offset,
                                      const View& y) {
  EMULSION_CHECK(x.present && y.present, "strided_copy: x and y are required");
  EMULSION_CHECK(x.dtype == y.dtype, "strided_copy: x is ", dtype_name(x.dtype), ", y is ",
                 dtype_name(y.dtype));
  EMULSION_CHECK(strides.rank() == y.rank(), "strided_copy: strides ", strides, " do not fit y ",
                 y.shape);
  if (y.numel() == 0) return;
  // Products fit __int128 whatever JavaScript passed as strides.
  __int128 lowest = offset, highest = offset;
  for (int k = 0; k < y.rank(); ++k) {
    const __int128 reach = static_cast<__int128>(y.dim(k) - 1) * strides[k];
    (reach < 0 ? lowest : highest) += reach;
  }
  EMULSION_CHECK(lowest >= 0 && highest < x.numel(), "strided_copy: strides ", strides,
                 " and offset ", offset, " lead outside x of shape ", x.shape);
}

static inline int checked_concat(const Views& xs, int64_t axis, const View& y) {
  const int along = checked_axis("concat", y, axis);
  int64_t extent = 0;
  for (const View& x : xs) {
    EMULSION_CHECK(x.present && x.dtype == y.dtype && x.rank() == y.rank(),
                   "concat: inputs must match y in dtype and rank");
    for (int k = 0; k < y.rank(); ++k)
      EMULSION_CHECK(k == along || x.dim(k) == y.dim(k), "concat: ", x.shape, " does not fit into ",
                     y.shape);
    extent += x.dim(along);
  }
  EMULSION_CHECK(extent == y.dim(along), "concat: extents add up to ", extent, ", y is ", y.shape);
  return along;
}

}  // namespace emulsion
