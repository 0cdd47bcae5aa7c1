// Rows that stay in registers between the walks that a norm or a softmax takes over them: `threads`
// neighbouring threads hold up to threads·elements values of one row, in vectors of `width`. Short
// rows share a warp, middle ones have one each, longer ones a block; what fits none is walked in
// memory.
#pragma once

#include "cuda/norm.cuh"

namespace emulsion::cuda {

template <class Stored, int width_, int elements_, int threads_>
struct RowTile {
  using T = Stored;
  static constexpr int width = width_, elements = elements_, threads = threads_;
  static constexpr int rows = norm_threads / threads;  // of a block at a time
  static constexpr int longest = elements * threads;
  static_assert(elements % width == 0);

  // The thread's place in its row, the row's in the block.
  __device__ __forceinline__ static int place() { return static_cast<int>(threadIdx.x) % threads; }
  __device__ __forceinline__ static int row() { return static_cast<int>(threadIdx.x) / threads; }

  // The column of element i, a multiple of width.
  __device__ __forceinline__ static int column(int i) {
    return (i / width * threads + place()) * width;
  }

  // The first n values of a row, `fill` behind them. n: a multiple of width.
  __device__ __forceinline__ static void load(const T* from, int n, float fill,
                                              float (&to)[elements]) {
    Pack<T, width> packs[elements / width];
#pragma unroll
    for (int i = 0; i < elements; i += width)
      if (column(i) < n) packs[i / width] = load_pack<T, width>(from + column(i));
#pragma unroll
    for (int i = 0; i < elements; i += width)
#pragma unroll
      for (int j = 0; j < width; ++j)
        to[i + j] = column(i) < n ? widen(packs[i / width].values[j]) : fill;
  }

  __device__ __forceinline__ static void store(const float (&from)[elements], int n, T* to) {
#pragma unroll
    for (int i = 0; i < elements; i += width) {
      if (column(i) >= n) continue;
      Pack<T, width> pack;
#pragma unroll
      for (int j = 0; j < width; ++j) pack.values[j] = narrow<T>(from[i + j]);
      store_pack(to + column(i), pack);
    }
  }

  // Over the threads of a row, for all of them. Every thread of the block takes part.
  template <class Combine>
  __device__ __forceinline__ static float reduce(float value, float identity, Combine combine) {
    if constexpr (threads > 32) {
      return block_reduce(value, identity, combine);
    } else {
#pragma unroll
      for (int offset = threads / 2; offset > 0; offset >>= 1)
        value = combine(value, __shfl_xor_sync(whole_warp, value, offset));
      return value;
    }
  }
};

// Calls body.template operator()<Tile>() with the smallest tile that holds rows of n values; false
// if none does. aligned: whether rows can be read by 16 bytes. most: elements per thread of the
// largest tile.
template <class T, int most, class Body>
bool with_row_tile(int64_t n, bool aligned, Body&& body) {
  constexpr int width = 16 / sizeof(T);
  const auto fits = [&]<class Tile>() {
    if (n > Tile::longest) return false;
    body.template operator()<Tile>();
    return true;
  };
  if (aligned && n % width == 0)
    return fits.template operator()<RowTile<T, width, 8, 4>>() ||
           fits.template operator()<RowTile<T, width, 8, 32>>() ||
           fits.template operator()<RowTile<T, width, 16, 32>>() ||
           fits.template operator()<RowTile<T, width, 24, 32>>() ||
           fits.template operator()<RowTile<T, width, 40, 32>>() ||
           fits.template operator()<RowTile<T, width, 16, norm_threads>>() ||
           (most > 16 && fits.template operator()<RowTile<T, width, most, norm_threads>>());
  return fits.template operator()<RowTile<T, 1, 8, 4>>() ||
         fits.template operator()<RowTile<T, 1, 8, 32>>() ||
         fits.template operator()<RowTile<T, 1, 16, norm_threads>>();
}

// A grid of one group of threads per row.
template <class Tile>
Grid row_grid(int64_t rows) {
  return {dim3(static_cast<unsigned>(ceil_div(rows, Tile::rows))), dim3(norm_threads)};
}

}  // namespace emulsion::cuda
