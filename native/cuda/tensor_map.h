// Tensor maps for bulk copies, 64-byte aligned kernel arguments:
//   __global__ void kernel(const __grid_constant__ TensorMap map)
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include "cuda/tensor_box.h"

namespace emulsion::cuda {

using TensorMap = CUtensorMap;

// Made on the host by the driver, which is asked for the function: nothing else links to it.
inline TensorMap make_tensor_map(const char* op, const void* base, DType dtype,
                                 const TensorBox& of) {
  check_box(op, base, dtype, of);
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                               12000, cudaEnableDefault, &found);
    return reinterpret_cast<Encode>(
        error == cudaSuccess && found == cudaDriverEntryPointSuccess ? function : nullptr);
  }();
  if (!encode) fail(ErrorCode::unsupported, op, ": the driver makes no tensor maps");

  const auto type = [&] {
    switch (dtype) {
      case DType::float32: return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
      case DType::bfloat16: return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
      case DType::float16: return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
      case DType::int32: return CU_TENSOR_MAP_DATA_TYPE_INT32;
      default: fail(ErrorCode::unsupported, op, ": no tensor maps of ", dtype_name(dtype));
    }
  }();
  cuuint64_t extent[5], stride[5];
  cuuint32_t box[5], step[5];
  for (int i = 0; i < of.rank; ++i) {
    extent[i] = static_cast<cuuint64_t>(of.extent[i]);
    box[i] = static_cast<cuuint32_t>(of.box[i]);
    step[i] = 1;
    if (i > 0) stride[i - 1] = static_cast<cuuint64_t>(of.stride[i]);
  }
  const auto swizzle = of.swizzle == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                       : of.swizzle == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                       : of.swizzle == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                                          : CU_TENSOR_MAP_SWIZZLE_NONE;
  TensorMap map;
  const CUresult error =
      encode(&map, type, static_cast<cuuint32_t>(of.rank), const_cast<void*>(base), extent, stride,
             box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (error != CUDA_SUCCESS)
    fail(ErrorCode::internal, op, ": the driver refuses a tensor map, error ",
         static_cast<int>(error));
  return map;
}

}  // namespace emulsion::cuda
