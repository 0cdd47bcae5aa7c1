// Reductions over any set of axes.
//
//   reduce_sum     y = Σ x              floating x: y of the same dtype; integers and bool: y is
//   int64 reduce_mean    y = Σ x / count      floating x reduce_prod    y = Π x              dtypes
//   as reduce_sum reduce_square  y = Σ x²             dtypes as reduce_sum reduce_max, reduce_min
//   y of x's dtype; a NaN anywhere makes the result NaN reduce_any, reduce_all              y is
//   bool: whether some / every element differs from 0 sum_to         reduce_sum over the axes along
//   which y was broadcast to x's shape (y's dtype is x's)
//
// axes: strictly ascending, each in [0, rank). y holds the kept axes in order; whether the reduced
// ones stay as extents of 1 is the caller's choice, only the element count is checked. Over no
// elements a sum is 0, a product 1, any false, all true, a maximum -∞ (or the dtype's least value),
// a mean NaN. Floating sums and products accumulate in float64 over chunks whose borders depend on
// the shape alone: every thread count gives the same bits. Bandwidth-bound: x is read once.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(                                                   //
    void reduce_sum(const View& x, const Shape& axes, View& y);     //
    void reduce_mean(const View& x, const Shape& axes, View& y);    //
    void reduce_prod(const View& x, const Shape& axes, View& y);    //
    void reduce_square(const View& x, const Shape& axes, View& y);  //
    void reduce_max(const View& x, const Shape& axes, View& y);     //
    void reduce_min(const View& x, const Shape& axes, View& y);     //
    void reduce_any(const View& x, const Shape& axes, View& y);     //
    void reduce_all(const View& x, const Shape& axes, View& y);     //
    void sum_to(const View& x, View& y);)

namespace emulsion {

// Which axes of x a reduction leaves out of y.
struct ReducedAxes {
  bool has[Shape::max_rank] = {};

  EMULSION_INLINE bool operator[](int axis) const { return has[axis]; }
};

static inline ReducedAxes reduced_axes(const char* op, const View& x, const Shape& axes,
                                       const View& y) {
  EMULSION_CHECK(x && y, op, ": x and y must be present");
  ReducedAxes reduced;
  int64_t before = -1;
  for (int64_t axis : axes) {
    EMULSION_CHECK(axis > before && axis < x.rank(), op, ": axes ", axes,
                   " must ascend within rank ", x.rank());
    reduced.has[axis] = true;
    before = axis;
  }
  int64_t outputs = 1;
  for (int k = 0; k < x.rank(); ++k) outputs *= reduced[k] ? 1 : x.dim(k);
  EMULSION_CHECK(outputs == y.numel(), op, ": y ", y.shape, " must have ", outputs, " elements");
  return reduced;
}

static inline void check_sum_dtype(const char* op, const View& x, const View& y) {
  const DType expected = is_floating(x.dtype) ? x.dtype : DType::int64;
  EMULSION_CHECK(y.dtype == expected, op, ": y of ", dtype_name(x.dtype), " x must be ",
                 dtype_name(expected));
}

static inline void check_kept_dtype(const char* op, const View& x, const View& y) {
  EMULSION_CHECK(y.dtype == x.dtype, op, ": y must be ", dtype_name(x.dtype), " like x");
}

static inline void check_truth_dtype(const char* op, const View& y) {
  EMULSION_CHECK(y.dtype == DType::boolean, op, ": y must be bool");
}

// The axes that sum_to reduces.
static inline Shape broadcast_axes(const View& x, const View& y) {
  EMULSION_CHECK(x && y && x.dtype == y.dtype && y.rank() <= x.rank(), "sum_to: x ", x.shape,
                 " and y ", y.shape, " must have the same dtype, and y at most x's rank");
  Shape axes;
  for (int i = 0, leading = x.rank() - y.rank(); i < x.rank(); ++i) {
    const int64_t target = i < leading ? 1 : y.dim(i - leading);
    EMULSION_CHECK(target == x.dim(i) || target == 1, "sum_to: y ", y.shape,
                   " does not broadcast to x ", x.shape);
    if (target != x.dim(i)) axes.push_back(i);
  }
  return axes;
}

}  // namespace emulsion
