// Slices along an axis, named by their number: what embeddings and indexing along whole slices have
// in common. Tensors are seen as [outer, extent, inner], ids as [count]; ids outside the extent
// read zeros and write nothing.
#pragma once

#include "core/view.h"

namespace emulsion::cuda {

// y[o, i, :] = x[o, ids[i], :], any dtype.
void select_slices(const char* op, const View& x, const View& ids, int64_t outer, int64_t extent,
                   int64_t inner, View& y);

// y = x (zeros if it is absent), then y[o, ids[i], :] += src[o, i, :], floating dtypes. Additions
// that meet in one element have a fixed order, that of i, in float32.
void add_slices(const char* op, const View& x, const View& ids, const View& src, int64_t outer,
                int64_t extent, int64_t inner, View& y);

}  // namespace emulsion::cuda
