// Attention on a single key (a class token): its weight is 1 whatever the scores, so
//   y[t] = v,  dv = Σt dy[t],  dq = dk = 0.
// Bandwidth is the roof: q is read for the log-sum-exp and y written; dy is read.
#pragma once

#include "cuda/attention_tile.cuh"

namespace emulsion::cuda::attention {

constexpr int single_lanes = 8;  // to a row of the forward pass

template <class Stored, int width>
__global__ void single_forward_kernel(Inputs<Stored> in, int64_t rows, Stored* y, float* lse) {
  // All lanes of a warp take part in the shuffles, whether or not their row exists.
  for (int64_t base = 0; base < rows; base += grid_threads() / single_lanes) {
    const int64_t row = base + grid_thread() / single_lanes;  // of [N, T, K]
    const bool valid = row < rows;
    const int64_t sequence = row / in.K, n = valid ? sequence / in.T : 0;
    const int64_t key = n * in.K + row % in.K;  // of [N, 1, K]
    const int first = lane_index() % single_lanes * width;
    float score = 0;
    for (int d = first; valid && d < in.D; d += single_lanes * width) {
      const auto a = load_pack<Stored, width>(in.q + row * in.D + d);
      const auto b = load_pack<Stored, width>(in.k + key * in.D + d);
#pragma unroll
      for (int i = 0; i < width; ++i) score += widen(a.values[i]) * widen(b.values[i]);
    }
#pragma unroll
    for (int offset = single_lanes / 2; offset > 0; offset >>= 1)
      score += __shfl_xor_sync(whole_warp, score, offset);
    if (!valid) continue;
    score *= in.mask && !in.mask[n] ? 0.0f : in.scale;
    const float weight = 1 + (score - score);  // a score that is no number leaves none
    if (first == 0) lse[key * in.T + sequence % in.T] = score;
    for (int d = first; d < in.D; d += single_lanes * width) {
      auto pack = load_pack<Stored, width>(in.v + key * in.D + d);
#pragma unroll
      for (Stored& value : pack.values) value = narrow<Stored>(widen(value) * weight);
      store_pack(y + row * in.D + d, pack);
    }
  }
}

// Sums of `length` queries each, [parts][N, columns]: 32 packs of columns to a block, whose eight
// warps take every eighth query.
template <class Stored, int width>
__global__ void single_backward_kernel(const Stored* dy, float* shares, int64_t columns, int T,
                                       int length, int column_blocks, int parts) {
  constexpr int warps = 8;
  EMULSION_SHARED(float, partial, [warps][32 * width]);
  const int64_t column =
      (static_cast<int64_t>(blockIdx.x % column_blocks) * 32 + lane_index()) * width;
  const int64_t n = blockIdx.x / column_blocks / parts;
  const int part = static_cast<int>(blockIdx.x / column_blocks) % parts;
  const int end = ::min((part + 1) * length, T);
  float sum[width] = {};
  if (column < columns)
    for (int t = part * length + warp_index(); t < end; t += warps) {
      const auto pack = load_pack<Stored, width>(dy + (n * T + t) * columns + column);
#pragma unroll
      for (int i = 0; i < width; ++i) sum[i] += widen(pack.values[i]);
    }
#pragma unroll
  for (int i = 0; i < width; ++i) partial[warp_index()][i * 32 + lane_index()] = sum[i];
  __syncthreads();
  if (warp_index() > 0 || column >= columns) return;
  const int64_t entries = gridDim.x / column_blocks / parts;
  float* const to = shares + (part * entries + n) * columns + column;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    float total = 0;
    for (int warp = 0; warp < warps; ++warp) total += partial[warp][i * 32 + lane_index()];
    to[i] = total;
  }
}

}  // namespace emulsion::cuda::attention
