// What epilogues of products share: neighbouring columns of a row in memory, at once where `whole`,
// else one by one those `left` that exist.
#pragma once

#include "cuda/device.cuh"

namespace emulsion::cuda {

template <int width, class T>
__device__ __forceinline__ Pack<T, width> load_columns(const T* from, bool whole, int left) {
  if (whole) [[likely]]
    return load_pack<T, width>(from);
  Pack<T, width> pack{};
#pragma unroll
  for (int e = 0; e < width; ++e)
    if (e < left) pack.values[e] = from[e];
  return pack;
}

template <class T, int width>
__device__ __forceinline__ void store_columns(T* to, const float (&from)[width], bool whole,
                                              int left) {
  Pack<T, width> pack;
#pragma unroll
  for (int e = 0; e < width; ++e) pack.values[e] = narrow<T>(from[e]);
  if (whole) [[likely]]
    return store_pack(to, pack);
#pragma unroll
  for (int e = 0; e < width; ++e)
    if (e < left) to[e] = pack.values[e];
}

template <class T, int width>
__device__ __forceinline__ void add_columns(float (&to)[width], const Pack<T, width>& pack) {
#pragma unroll
  for (int e = 0; e < width; ++e) to[e] += widen(pack.values[e]);
}

// An epilogue of gemm.cuh that only stores: rows of `columns` elements, one matrix of `rows` behind
// the other.
template <class T, int width_>
struct StoreRows {
  static constexpr int width = width_;

  T* y;
  int rows, columns_per_row;
  bool vectors;  // whether `width` elements can be written at once

  struct Columns {
    int column, left;
    bool whole;
  };
  struct Nothing {};

  __device__ __forceinline__ int64_t row(int batch, int row) const {
    return (static_cast<int64_t>(batch) * rows + row) * columns_per_row;
  }
  __device__ __forceinline__ Columns columns(int, int column, int left) const {
    return {column, left, vectors && left >= width};
  }
  __device__ __forceinline__ Nothing load(int64_t, const Columns&) const { return {}; }
  __device__ __forceinline__ void store(int64_t row, const Columns& at, Nothing,
                                        const float (&v)[width]) const {
    store_columns(y + row + at.column, v, at.whole, at.left);
  }
};

}  // namespace emulsion::cuda
