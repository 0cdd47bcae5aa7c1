// The forward pass of 16-bit heads of up to 160 elements, all in registers (FlashAttention-2, Dao
// 2023).
//
// A block of four warps owns 64 or 128 queries, 16 or 32 to a warp, and walks the keys in tiles. A
// tile's values travel while its scores are computed, the next keys during softmax and the product
// with the values, so one buffer each is enough. Exponentials are base 2, the scale folded into
// their one multiply-add. Sums are rescaled only when a row's maximum rose by more than 8 in the
// exponent: a weight is at most 256 then, which costs no precision.
//
// 4·T·S·D operations and T·S exponentials per head. Tensor cores are the roof for D >= 64, the
// exponentials below. A fragment of keys or values serves as many products as a warp has atoms:
// two of them halve the traffic of shared memory, where there are queries enough.
#pragma once

#include "cuda/attention_tile.cuh"

namespace emulsion::cuda::attention {

template <int depth, int atoms>
struct ForwardTile {
  static constexpr int threads = 128, rows = 64 * atoms;
  static constexpr int keys = depth * atoms > 192 ? 32 : 64;
  static constexpr int bytes = (rows + 2 * keys) * Swizzled<depth>::row_bytes;
};

// Scores become weights relative to a maximum that is not far below the largest score of the row.
template <int atoms, int tiles, int columns>
__device__ __forceinline__ void online_softmax(float (&scores)[atoms][tiles][4],
                                               float (&peak)[atoms][2], float (&total)[atoms][2],
                                               float (&sums)[atoms][columns][4], float factor) {
  constexpr float slack = 8;
  float top[atoms][2];
  bool rises = false;
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = peak[m][h];
#pragma unroll
      for (int j = 0; j < tiles; ++j)
        most = fmaxf(most, fmaxf(scores[m][j][2 * h], scores[m][j][2 * h + 1]));
      most = fmaxf(most, __shfl_xor_sync(whole_warp, most, 1));
      most = fmaxf(most, __shfl_xor_sync(whole_warp, most, 2));
      top[m][h] = most;
      rises |= (most - peak[m][h]) * factor > slack;
    }
  if (__any_sync(whole_warp, rises)) {
#pragma unroll
    for (int m = 0; m < atoms; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // Not a key so far: both are minus infinity.
        const float shrink =
            peak[m][h] == top[m][h] ? 1.0f : ex2_approx((peak[m][h] - top[m][h]) * factor);
        peak[m][h] = top[m][h];
        total[m][h] *= shrink;
#pragma unroll
        for (int j = 0; j < columns; ++j) {
          sums[m][j][2 * h] *= shrink;
          sums[m][j][2 * h + 1] *= shrink;
        }
      }
  }
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float shift = peak[m][h] == -infinity ? 0.0f : -peak[m][h] * factor;
#pragma unroll
      for (int j = 0; j < tiles; ++j)
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          scores[m][j][e] = ex2_approx(__fmaf_rn(scores[m][j][e], factor, shift));
          total[m][h] += scores[m][j][e];
        }
    }
}

// For scales below zero.
template <int atoms, int tiles>
__device__ __forceinline__ void negate(float (&scores)[atoms][tiles][4]) {
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int j = 0; j < tiles; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[m][j][e] = -scores[m][j][e];
}

// Writes the log-sum-exps of a warp's rows, from `first` of `count` on; their totals become what
// their sums are to be multiplied by.
template <int atoms>
__device__ __forceinline__ void close_rows(float* lse, int first, int count, float factor,
                                           const float (&peak)[atoms][2],
                                           float (&total)[atoms][2]) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = total[m][h];
      sum += __shfl_xor_sync(whole_warp, sum, 1);
      sum += __shfl_xor_sync(whole_warp, sum, 2);
      const int row = first + 16 * m + 8 * h + g;
      if (t == 0 && row < count) lse[row] = peak[m][h] * factor * ln2 + logf(sum);
      total[m][h] = 1 / sum;
    }
}

template <class Stored, int depth, int atoms>
__global__ __launch_bounds__(128) void forward_kernel(Inputs<Stored> in, int blocks, Stored* y,
                                                      float* lse) {
  using Tile = Swizzled<depth>;
  using Shape = ForwardTile<depth, atoms>;
  constexpr int keys = Shape::keys, threads = Shape::threads, tiles = keys / 8;
  const int block = static_cast<int>(blockIdx.x) % blocks;
  const int sequence = static_cast<int>(blockIdx.x) / blocks;  // of N * K
  const int n = sequence / in.K, head = sequence % in.K;
  const int warp_row = warp_index() * 16 * atoms, first = block * Shape::rows;

  unsigned char* const query_tile = dynamic_shared();
  unsigned char* const key_tile = query_tile + Shape::rows * Tile::row_bytes;
  unsigned char* const value_tile = key_tile + keys * Tile::row_bytes;
  unsigned char* const warp_rows = query_tile + warp_row * Tile::row_bytes;
  const Rows<const Stored> k(in.k, n, head, in.S, in), v(in.v, n, head, in.S, in);
  load_rows<Tile, Shape::rows, Tile::slots, threads>(
      query_tile, Rows<const Stored>(in.q, n, head, in.T, in), first);
  load_rows<Tile, keys, Tile::slots, threads>(key_tile, k, 0);
  cp_async_commit();

  const Entry entry(in, n);
  // Never zero, so that a key that does not count stays at minus infinity when the scale is zero.
  const float factor = fmaxf(fabsf(entry.scale) * log2e, 1e-30f);
  const bool negative = entry.scale < 0, half = in.D <= depth - 8;
  const bool idle = first + warp_row >= in.T;  // no query for this warp

  Fragments<Tile, atoms, depth, depth <= 64> queries;
  float sums[atoms][depth / 8][4], scores[atoms][tiles][4];
  float peak[atoms][2], total[atoms][2];
  clear(sums);
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      peak[m][h] = -infinity;
      total[m][h] = 0;
    }

  const auto step = [&](int begin, auto whole_tile) {
    constexpr bool whole = decltype(whole_tile)::value;
    const int groups = (::min(in.S - begin, keys) + 15) / 16;
    cp_async_wait<0>();
    __syncthreads();  // keys are here, and all are done with the last values
    load_rows<Tile, keys, Tile::slots, threads>(value_tile, v, begin);
    cp_async_commit();
    if (begin == 0) queries.load(warp_rows);
    if (!idle) multiply_rows<Stored, Tile, whole>(scores, queries, key_tile, groups);
    cp_async_wait<0>();
    __syncthreads();  // values are here, and all are done with the keys
    if (begin + keys < in.S) load_rows<Tile, keys, Tile::slots, threads>(key_tile, k, begin + keys);
    cp_async_commit();
    if (idle) return;
    if (negative) negate(scores);
    if constexpr (!whole) leave_out(scores, entry, begin, in.S);
    online_softmax(scores, peak, total, sums, factor);
    multiply_weights<Stored, Tile, whole>(sums, scores, value_tile, groups, half);
  };
  int begin = 0;
  if (!entry.mask)
    for (; begin + keys <= in.S; begin += keys) step(begin, std::true_type());
  for (; begin < in.S; begin += keys) step(begin, std::false_type());
  if (idle) return;

  close_rows(lse + static_cast<int64_t>(sequence) * in.T, first + warp_row, in.T, factor, peak,
             total);
  store_rows<Tile>(Rows<Stored>(y, n, head, in.T, in), first + warp_row, warp_rows, sums, total);
}

}  // namespace emulsion::cuda::attention
