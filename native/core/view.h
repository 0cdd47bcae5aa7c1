// What a kernel sees of a tensor: a pointer, a shape, a dtype. Dense, contiguous, row-major.
// Kernels own nothing; the device's queue order keeps the memory alive until they ran.
#pragma once

#include "core/shape.h"

namespace emulsion {

struct View {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::float32;
  bool present = false;  // an optional argument that was not given is not present

  EMULSION_INLINE explicit operator bool() const { return present; }
  EMULSION_INLINE int rank() const { return shape.rank(); }
  EMULSION_INLINE int64_t numel() const { return shape.numel(); }
  EMULSION_INLINE int64_t dim(int i) const { return shape[i < 0 ? i + shape.rank() : i]; }
  EMULSION_INLINE int64_t bytes() const { return numel() * dtype_size(dtype); }

  template <class T>
  EMULSION_INLINE T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace emulsion
