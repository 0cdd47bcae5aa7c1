// What the contracts of several ops demand alike. A contract's checks stand below it, in its own
// header, and every engine calls them before it touches a tensor; what an engine demands beyond the
// contract is its own. They are `static`: each engine and instruction-set level has its own copy,
// for the reason that core/dtype.h gives.
#pragma once

#include "ops/kernels.h"

namespace emulsion {

// Of statistics and optimizer state beside tensors of a floating dtype.
EMULSION_INLINE DType accumulator_dtype(DType dtype) {
  return dtype == DType::float64 ? DType::float64 : DType::float32;
}

EMULSION_INLINE bool is_index(DType dtype) {
  return dtype == DType::int32 || dtype == DType::int64;
}

EMULSION_INLINE bool alike(const View& a, const View& b) {
  return a.dtype == b.dtype && a.shape == b.shape;
}

// An absent tensor, or one like the other.
EMULSION_INLINE bool absent_or_alike(const View& view, const View& other) {
  return !view || alike(view, other);
}

// An absent tensor, or a floating one of that many values.
EMULSION_INLINE bool absent_or_values(const View& view, int64_t count) {
  return !view || (is_floating(view.dtype) && view.numel() == count);
}

// A tensor, where it is given, has that shape and dtype.
static inline void check_like(const char* op, const View& tensor, const Shape& shape, DType dtype,
                              const char* name) {
  EMULSION_CHECK(!tensor || (tensor.shape == shape && tensor.dtype == dtype), op, ": ", name,
                 " must be ", dtype_name(dtype), " ", shape, ", got ", dtype_name(tensor.dtype),
                 " ", tensor.shape);
}

static inline int checked_axis(const char* op, const View& x, int64_t axis) {
  EMULSION_CHECK(x && axis >= 0 && axis < x.rank(), op, ": axis ", axis, " is not an axis of ",
                 x.shape);
  return static_cast<int>(axis);
}

}  // namespace emulsion
