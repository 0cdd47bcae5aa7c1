// Stands in for native/cuda/tensor_map.h: the map holds what it was made from.
#pragma once

#include "cuda/tensor_box.h"
#include "tensor.h"

namespace emulsion::cuda {

using TensorMap = emulator::Tensor;

inline TensorMap make_tensor_map(const char* op, const void* base, DType dtype,
                                 const TensorBox& of) {
  check_box(op, base, dtype, of);
  TensorMap map{};
  map.base = const_cast<void*>(base);
  map.rank = of.rank;
  map.element = static_cast<int>(dtype_size(dtype));
  map.swizzle = of.swizzle;
  for (int i = 0; i < of.rank; ++i) {
    map.box[i] = static_cast<uint32_t>(of.box[i]);
    map.extent[i] = static_cast<uint64_t>(of.extent[i]);
    map.stride[i] = static_cast<uint64_t>(of.stride[i]);
  }
  return map;
}

}  // namespace emulsion::cuda
