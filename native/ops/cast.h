// Moving values without computing: fill, copy, and conversion between every pair of dtypes.
//
//   fill   y = value
//   copy   y = x, the same dtype and element count (shapes may differ: both are dense)
//   cast   y = x converted to y's dtype
//
// Conversions: to a floating dtype rounds to nearest even; to an integer truncates towards zero,
// saturates at the dtype's range and turns NaN into 0; to bool is x != 0. The same on every device.
// Bandwidth-bound. x and y must not overlap.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(                       //
    void fill(double value, View& y);   //
    void copy(const View& x, View& y);  //
    void cast(const View& x, View& y);)
