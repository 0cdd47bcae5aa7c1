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

// Pairs of 16 bits in one instruction.
template <class T, int width>
__device__ __forceinline__ Pack<T, width> narrow_columns(const float (&from)[width]) {
  if constexpr (sizeof(T) == 2 && width % 2 == 0) {
    Pack<uint32_t, width / 2> words;
#pragma unroll
    for (int e = 0; e < width; e += 2) words.values[e / 2] = pack2<T>(from[e], from[e + 1]);
    return __builtin_bit_cast(Pack<T, width>, words);
  } else {
    Pack<T, width> pack;
#pragma unroll
    for (int e = 0; e < width; ++e) pack.values[e] = narrow<T>(from[e]);
    return pack;
  }
}

template <class T, int width>
__device__ __forceinline__ void store_columns(T* to, const float (&from)[width], bool whole,
                                              int left) {
  const Pack<T, width> pack = narrow_columns<T>(from);
  if (whole) [[likely]]
    return store_pack(to, pack);
#pragma unroll
  for (int e = 0; e < width; ++e)
    if (e < left) to[e] = pack.values[e];
}

template <class T, int width>
__device__ __forceinline__ void add_columns(float (&to)[width], const Pack<T, width>& pack) {
  if constexpr (__is_same(T, bfloat16) && width % 2 == 0) {
    const auto words = __builtin_bit_cast(Pack<uint32_t, width / 2>, pack);
#pragma unroll
    for (int e = 0; e < width; e += 2) {
      to[e] += __uint_as_float(words.values[e / 2] << 16);
      to[e + 1] += __uint_as_float(words.values[e / 2] & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int e = 0; e < width; ++e) to[e] += widen(pack.values[e]);
  }
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
