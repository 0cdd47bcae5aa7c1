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

#include "ops/kernels.h"

EMULSION_KERNELS(void strided_copy(const View& x, const Shape& strides, int64_t offset, View& y);
                 void concat(const Views& xs, int64_t axis, View& y);)
