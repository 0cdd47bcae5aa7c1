// How the sums of gemm.cuh's kernels leave a block: which tile they belong to, and how they come to
// lie in neighbouring columns, as epilogues take them, or in the partial sums of a split.
#pragma once

#include "cuda/device.cuh"

namespace emulsion::cuda::gemm {

// Work of one launch, in tiles.
struct Work {
  int rows, columns;  // of C
  int row_tiles, column_tiles;
  int steps, steps_per_split, splits;  // tiles along the depth
  int batches;
  float* partial;  // [splits, batches, rows, columns rounded up]; null without a split
  Pack<float>*
      carried;  // sums longer than tensor cores should add, one block's beside the other's; or null
};

// The block's tile, split and batch. Tiles go in bands of eight rows of tiles, so that blocks that
// run together share operands in the cache.
struct Place {
  int row_tile, column_tile, split, batch;

  __device__ __forceinline__ explicit Place(const Work& work)
      : Place(work, static_cast<int>(blockIdx.x)) {}
  __device__ __forceinline__ Place(const Work& work, int item) {
    constexpr int band = 8;
    const int tiles = work.row_tiles * work.column_tiles;
    const int tile = item % tiles, rest = item / tiles;
    split = rest % work.splits;
    batch = rest / work.splits;
    const int in_band = band * work.column_tiles, first = tile / in_band * band;
    const int height = ::min(band, work.row_tiles - first);
    row_tile = first + tile % in_band % height;
    column_tile = tile % in_band / height;
  }
};

template <int width>
__host__ __device__ constexpr int rounded_columns(int columns) {
  return (columns + width - 1) / width * width;
}

// The results in one group of columns of a row.
template <class Epilogue>
__device__ __forceinline__ void finish(const Epilogue& epilogue, int batch, int row, int column,
                                       int left, float (&v)[Epilogue::width]) {
  const auto at_row = epilogue.row(batch, row);
  const auto at_columns = epilogue.columns(batch, column, left);
  epilogue.store(at_row, at_columns, epilogue.load(at_row, at_columns), v);
}

// A row of the partial sums of a split product.
template <class Epilogue>
__device__ __forceinline__ float* partial_row(const Place& place, const Work& work, int row) {
  const int64_t line =
      (static_cast<int64_t>(place.split) * work.batches + place.batch) * work.rows + row;
  return work.partial + line * rounded_columns<Epilogue::width>(work.columns);
}

// Of the eights of columns of v, of which a lane of four holds two columns each, the lane's own:
// v[2s], v[2s + 1] come from lane s. For v of four: lanes 0 and 1, 2 and 3 exchange two eights.
template <int width>
__device__ __forceinline__ void exchange(float (&v)[width], int lane) {
#pragma unroll
  for (int bit = 1; bit < width / 2; bit *= 2) {
    const bool second = (lane & bit) != 0;
#pragma unroll
    for (int e = 0; e < width; ++e) {
      if ((e / 2 & bit) != 0) continue;
      const float a = v[e], b = v[e + 2 * bit];
      const float other = __shfl_xor_sync(whole_warp, second ? a : b, bit);
      v[e] = second ? other : a;
      v[e + 2 * bit] = second ? b : other;
    }
  }
}

// The sums of 16 rows as tensor cores leave them: of rows g and g + 8 lane 4g + t has columns 2t
// and 2t + 1 of every eight. Four lanes exchange them by shuffles, so that each has neighbours, as
// many as the epilogue is wide.
//
// Groups of columns go through one loop that is not unrolled: instructions that each run once come
// slower than a warp could run them. ahead: both rows at once, and what the next group of columns
// needs is on its way meanwhile; for warps that have registers to spare.
template <bool ahead, class Epilogue, int sums_per_lane>
__device__ __forceinline__ void hand_over(const float (&sums)[sums_per_lane], int first_row,
                                          int first_column, const Place& place, const Work& work,
                                          const Epilogue& epilogue) {
  constexpr int width = Epilogue::width, columns = 2 * sums_per_lane, group = 4 * width;
  static_assert(width == 4 || width == 8);
  const int t = lane_index() % 4, row = first_row + lane_index() / 4;
  if (work.partial) {
    const int end = rounded_columns<width>(work.columns) - first_column - 2 * t;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row + 8 * half >= work.rows) break;
      float* const to = partial_row<Epilogue>(place, work, row + 8 * half) + first_column + 2 * t;
#pragma unroll
      for (int j = 0; j < columns / 8; ++j) {
        const float* const pair = sums + 4 * j + 2 * half;
        if (8 * j < end) store_pack(to + 8 * j, Pack<float, 2>{{pair[0], pair[1]}});
      }
    }
    return;
  }
  const int own = width == 4 ? t % 2 * 8 + t / 2 * 4 : t * 8;  // a lane's first column of a group
  const int column = first_column + own;
  const auto exists = [&](int first) {
    return first + own < columns && column + first < work.columns;
  };
  const auto take = [&](int first, int half, float(&v)[width]) {
  // Registers have no index: each group has a branch of its own.
#pragma unroll
    for (int from = 0; from < columns; from += group)
      if (from == first)
#pragma unroll
        for (int e = 0; e < width; ++e) {
          const int at = from + e / 2 * 8;
          v[e] = at < columns ? sums[at / 2 + 2 * half + e % 2] : 0.0f;
        }
    exchange(v, t);
  };
  const decltype(epilogue.row(0, 0)) rows[2] = {epilogue.row(place.batch, row),
                                                epilogue.row(place.batch, row + 8)};
  using Columns = decltype(epilogue.columns(0, 0, 0));
  const auto load = [&](int first) {
    return exists(first)
               ? epilogue.columns(place.batch, column + first, work.columns - column - first)
               : Columns{};
  };
  using Added = decltype(epilogue.load(rows[0], Columns{}));
  Columns next = load(0);
#pragma unroll 1
  for (int first = 0; first < columns; first += group) {
    const Columns now = next;
    const bool here = exists(first);
    Added added[2] = {};
    float v[2][width] = {};
    const auto begin = [&](int half) {
      if (here && row + 8 * half < work.rows) added[half] = epilogue.load(rows[half], now);
      take(first, half, v[half]);
    };
    if (ahead) {
      if (first + group < columns) next = load(first + group);
      begin(0);
      begin(1);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (!ahead) begin(half);
      if (here && row + 8 * half < work.rows) epilogue.store(rows[half], now, added[half], v[half]);
    }
    if (!ahead && first + group < columns) next = load(first + group);
  }
}

// Floats between rows of a slab: 8 or 24 more than a multiple of 32, so that the rows that a warp
// writes lie in different banks.
constexpr int slab_pitch(int columns) { return columns % 16 == 8 ? columns : columns + 8; }

// Sums in another order, through the warp's slab of shared memory.
template <class Math, class Epilogue>
__device__ __forceinline__ void hand_over(const Math& math, float* slab, int first_row,
                                          int first_column, const Place& place, const Work& work,
                                          const Epilogue& epilogue) {
  constexpr int width = Epilogue::width, pitch = slab_pitch(Math::columns);
  constexpr int per_row = Math::columns / width;
#pragma unroll
  for (int s = 0; s < Math::rows / 16; ++s) {
    __syncwarp();
    math.put(s, slab, pitch);
    __syncwarp();
#pragma unroll 1
    for (int i = lane_index(); i < 16 * per_row; i += 32) {
      const int row = first_row + 16 * s + i / per_row;
      const int at = i % per_row * width, column = first_column + at;
      if (row >= work.rows || column >= work.columns) continue;
      float v[width];
#pragma unroll
      for (int e = 0; e < width; e += 4) {
        const auto pack = load_pack(slab + i / per_row * pitch + at + e);
#pragma unroll
        for (int c = 0; c < 4; ++c) v[e + c] = pack.values[c];
      }
      if (work.partial) {
        float* const to = partial_row<Epilogue>(place, work, row) + column;
#pragma unroll
        for (int e = 0; e < width; e += 4)
          store_pack(to + e, Pack<float>{{v[e], v[e + 1], v[e + 2], v[e + 3]}});
      } else {
        finish(epilogue, place.batch, row, column, work.columns - column, v);
      }
    }
  }
}

}  // namespace emulsion::cuda::gemm
