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

#include "ops/kernels.h"

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
