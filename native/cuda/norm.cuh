// What the normalisations, softmax and cross-entropy share: parameters of any dtype, exponentials,
// and the ordered sum of partial rows.
#pragma once

#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {

constexpr int norm_threads = 256;

// Parameters or their gradients as kernels see them: a dtype that is known at the launch only, null
// where absent.
struct Values {
  void* data = nullptr;
  DType dtype = DType::float32;
  bool packed = false;  // whether 16-byte accesses are aligned

  Values() = default;
  Values(const char* op, const View& view) {
    if (!view) return;
    EMULSION_CHECK(view.dtype != DType::float64, op,
                   ": float64 tensors live on the CPU; cast to float32 first");
    data = view.data;
    dtype = view.dtype;
    packed = is_aligned(data, 16);
  }

  __device__ __forceinline__ float load(int64_t i, float otherwise) const {
    if (!data) return otherwise;
    switch (dtype) {
      case DType::bfloat16: return widen(static_cast<const bfloat16*>(data)[i]);
      case DType::float16: return widen(static_cast<const float16*>(data)[i]);
      default: return static_cast<const float*>(data)[i];
    }
  }

  // `width` neighbours from i, a multiple of width.
  template <int width>
  __device__ __forceinline__ void load(int64_t i, float otherwise, float (&to)[width]) const {
    if (data && packed && width > 1) {
      switch (dtype) {
        case DType::bfloat16: return load_as<bfloat16>(i, to);
        case DType::float16: return load_as<float16>(i, to);
        default: return load_as<float>(i, to);
      }
    }
#pragma unroll
    for (int k = 0; k < width; ++k) to[k] = load(i + k, otherwise);
  }

  // Does nothing where absent.
  __device__ __forceinline__ void store(int64_t i, float value) const {
    if (!data) return;
    switch (dtype) {
      case DType::bfloat16: static_cast<bfloat16*>(data)[i] = narrow<bfloat16>(value); return;
      case DType::float16: static_cast<float16*>(data)[i] = narrow<float16>(value); return;
      default: static_cast<float*>(data)[i] = value;
    }
  }

 private:
  template <class P, int width>
  __device__ __forceinline__ void load_as(int64_t i, float (&to)[width]) const {
    constexpr int most = 16 / sizeof(P), part = width < most ? width : most;
#pragma unroll
    for (int k = 0; k < width; k += part) {
      const auto pack = load_pack<P, part>(static_cast<const P*>(data) + i + k);
#pragma unroll
      for (int j = 0; j < part; ++j) to[k + j] = widen(pack.values[j]);
    }
  }
};

// `width` neighbours of a float array that starts at a border of 16 bytes.
template <int width>
__device__ __forceinline__ void load_floats(const float* from, float (&to)[width]) {
  constexpr int part = width < 4 ? width : 4;
#pragma unroll
  for (int k = 0; k < width; k += part) {
    const auto pack = load_pack<float, part>(from + k);
#pragma unroll
    for (int j = 0; j < part; ++j) to[k + j] = pack.values[j];
  }
}

// e^x where the result is stored as T: sixteen bits do not see what the fast one loses.
template <class T>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (__is_same(T, float))
    return expf(x);
  else
    return __expf(x);
}

// Columns of float partials [rows][2][columns] summed over the rows in one order: eight interleaved
// sums, then those. Column c of the first half goes to first[c], of the second to second[c].
template <int threads>
__global__ void sum_partials(const float* partials, int64_t rows, int columns, Values first,
                             Values second) {
  constexpr int warps = threads / 32;
  EMULSION_SHARED(float, sums, [warps][32]);
  const int64_t pitch = int64_t{2} * columns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + lane_index();
  float sum = 0;
  if (column < pitch) {
#pragma unroll 4
    for (int64_t row = warp_index(); row < rows; row += warps)
      sum += partials[row * pitch + column];
  }
  sums[warp_index()][lane_index()] = sum;
  __syncthreads();
  if (warp_index() != 0 || column >= pitch) return;
  for (int warp = 1; warp < warps; ++warp) sum += sums[warp][lane_index()];
  if (column < columns)
    first.store(column, sum);
  else
    second.store(column - columns, sum);
}

inline void launch_sum_partials(const char* op, const float* partials, int64_t rows,
                                int64_t columns, const Values& first, const Values& second) {
  if (!first.data && !second.data) return;
  launch(op, sum_partials<norm_threads>,
         {dim3(static_cast<unsigned>(ceil_div(2 * columns, 32))), dim3(norm_threads)}, partials,
         rows, static_cast<int>(columns), first, second);
}

}  // namespace emulsion::cuda
