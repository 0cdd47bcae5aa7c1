// The backward pass of 16-bit heads of up to 160 elements: one kernel, run once over the keys for
// dk and dv and once over the queries for dq, so that nothing is added by two blocks.
//
// A block owns 64 rows (keys or queries), 16 to a warp, and walks the other side in tiles, two of
// them under way. Per tile, with the block's rows on the left,
//   over keys:     S' = k·q', P' = exp(S' - lse), dv += P'·dy, dS' = P'∘(v·dy' - delta), dk +=
//   dS'·q over queries:  S = q·k',  P = exp(S - lse),   dS = P∘(dy·v' - delta),                dq
//   += dS·k
// where ' transposes: either way weights stay in the registers of the product that made them, as
// the left operand of the next one. 7 products where 5 would do with additions across blocks, whose
// order would not be fixed. Tensor cores are the roof; exponentials (two per score) below D = 64.
// dk and dv of heads of 160 take 160 registers of a thread, and about ten values spill.
//
// Few rows and a long other side (cross attention on a text): the other side is cut into parts of
// the grid, each with float32 sums of its own, added in order by sum_parts.
#pragma once

#include "cuda/attention_tile.cuh"

namespace emulsion::cuda::attention {

enum class Side { keys, queries };

template <int depth>
struct BackwardTile {
  static constexpr int threads = 128, rows = 64, columns = depth > 96 ? 32 : 64;
  static constexpr int stage_bytes = 2 * columns * (Swizzled<depth>::row_bytes + 4);
  static constexpr int bytes = 2 * rows * Swizzled<depth>::row_bytes + 2 * stage_bytes;
};

// Where a pass leaves its gradients; null for what is not wanted.
template <class Stored>
struct Gradients {
  Stored *dq, *dk, *dv;
};

// How a grid is laid out: blocks of rows, times parts of the other side of `length` each.
struct Cut {
  int blocks, parts, length;
};

// float32 sums of each part, [parts][N, rows, K, D]; null if there is one part only.
struct Shares {
  float *first, *second;
  int64_t size;  // of a part
};

// A warp's sums, times a factor per row, as part of a sum in float32.
template <int atoms, int columns>
__device__ __forceinline__ void store_shares(const Rows<float>& to, int first,
                                             const float (&sums)[atoms][columns][4],
                                             const float (&factors)[atoms][2]) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first + 16 * m + 8 * h + g;
      if (row >= to.count) continue;
#pragma unroll
      for (int j = 0; j < columns; ++j) {
        const float pair[2] = {sums[m][j][2 * h] * factors[m][h],
                               sums[m][j][2 * h + 1] * factors[m][h]};
        store_columns<2>(to.row(row), 8 * j + 2 * t, to.size, to.packs, pair);
      }
    }
}

// Writes the gradients of a warp's rows, or a part's shares of them; `stage` is shared memory for
// 16 rows that only this warp uses.
template <Side side, class Stored, int columns, int values>
__device__ __forceinline__ void leave_gradients(const Inputs<Stored>& in, const Entry& entry, int n,
                                                int head, int part, int first, unsigned char* stage,
                                                const Gradients<Stored>& out, const Shares& shares,
                                                float (&weighted)[1][values][4],
                                                float (&graded)[1][columns][4]) {
  constexpr bool over_keys = side == Side::keys;
  const int count = over_keys ? in.S : in.T;
  float ones[1][2], factors[1][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first + 8 * h + lane_index() / 4;
    const bool kept = !over_keys || entry.keeps(row, count);
    ones[0][h] = kept;
    factors[0][h] = kept ? entry.scale : 0;
  }
  // Keys that are left out saw weights of any size.
  if (over_keys && entry.mask)
#pragma unroll
    for (int j = 0; j < columns; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (ones[0][e / 2] == 0) {
          weighted[0][over_keys ? j : 0][e] = 0;
          graded[0][j][e] = 0;
        }
  const auto store = [&](Stored* gradient, float* share, const auto& sums, const auto& by) {
    if (!gradient) return;
    if (share)
      store_shares(Rows<float>(share + part * shares.size, n, head, count, in), first, sums, by);
    else
      store_rows<Swizzled<8 * columns>>(Rows<Stored>(gradient, n, head, count, in), first, stage,
                                        sums, by);
  };
  store(over_keys ? out.dk : out.dq, shares.first, graded, factors);
  if constexpr (over_keys) store(out.dv, shares.second, weighted, ones);
}

template <class Stored, int depth, Side side>
__global__ __launch_bounds__(128) void backward_kernel(Inputs<Stored> in, Cut cut,
                                                       Gradients<Stored> out, Shares shares) {
  using Tile = Swizzled<depth>;
  using Shape = BackwardTile<depth>;
  constexpr bool over_keys = side == Side::keys;
  constexpr int columns = Shape::columns, tiles = columns / 8, threads = Shape::threads;
  const int block = static_cast<int>(blockIdx.x) % cut.blocks;
  const int part = static_cast<int>(blockIdx.x) / cut.blocks % cut.parts;
  const int sequence = static_cast<int>(blockIdx.x) / cut.blocks / cut.parts;  // of N * K
  const int n = sequence / in.K, head = sequence % in.K;
  const int g = lane_index() / 4, t = lane_index() % 4;
  const int first = block * Shape::rows, warp_first = first + warp_index() * 16;
  const int count = over_keys ? in.S : in.T, others = over_keys ? in.T : in.S;
  const int64_t statistics = static_cast<int64_t>(sequence) * in.T;

  // Left: the block's rows, right: the other side; scores come of the first, dP of the second.
  unsigned char* const left[2] = {dynamic_shared(),
                                  dynamic_shared() + Shape::rows * Tile::row_bytes};
  unsigned char* const stages = left[1] + Shape::rows * Tile::row_bytes;
  const Rows<const Stored> right[2] = {
      Rows<const Stored>(over_keys ? in.q : in.k, n, head, others, in),
      Rows<const Stored>(over_keys ? in.dy : in.v, n, head, others, in)};
  const auto load_right = [&](int begin, int parity) {
    unsigned char* const stage = stages + parity * Shape::stage_bytes;
    load_rows<Tile, columns, Tile::slots, threads>(stage, right[0], begin);
    load_rows<Tile, columns, Tile::slots, threads>(stage + columns * Tile::row_bytes, right[1],
                                                   begin);
    const int i = static_cast<int>(threadIdx.x);
    if (over_keys && i < 2 * columns) {  // the queries' lse, then their delta
      const int query = begin + i % columns;
      const bool valid = query < others;
      const float* from = i < columns ? in.lse : in.delta;
      cp_async<4>(stage + 2 * columns * Tile::row_bytes + 4 * i,
                  valid ? from + statistics + query : from, valid);
    }
    cp_async_commit();
  };
  load_rows<Tile, Shape::rows, Tile::slots, threads>(
      left[0], Rows<const Stored>(over_keys ? in.k : in.q, n, head, count, in), first);
  load_rows<Tile, Shape::rows, Tile::slots, threads>(
      left[1], Rows<const Stored>(over_keys ? in.v : in.dy, n, head, count, in), first);
  const int part_begin = part * cut.length, part_end = ::min(part_begin + cut.length, others);
  if (part_begin < part_end) load_right(part_begin, 0);

  const Entry entry(in, n);
  const float factor = entry.scale * log2e;
  const bool half = in.D <= depth - 8;
  float row_lse[2] = {}, row_delta[2] = {};
  if constexpr (!over_keys)
#pragma unroll
    for (int h = 0; h < 2; ++h)
      if (const int row = warp_first + 8 * h + g; row < count) {
        row_lse[h] = in.lse[statistics + row] * log2e;
        row_delta[h] = in.delta[statistics + row];
      }

  Fragments<Tile, 1, depth, depth <= 64> rows[2];
  float weighted[1][over_keys ? depth / 8 : 1][4], graded[1][depth / 8][4];  // P'·dy, dS·k or dS'·q
  clear(weighted);
  clear(graded);

  const auto step = [&](int begin, int parity, auto whole_tile) {
    constexpr bool whole = decltype(whole_tile)::value;
    const int groups = (::min(part_end - begin, columns) + 15) / 16;
    const unsigned char* const stage = stages + parity * Shape::stage_bytes;
    const unsigned char* const second = stage + columns * Tile::row_bytes;
    const auto* const column_lse =
        reinterpret_cast<const float*>(stage + 2 * columns * Tile::row_bytes);
    float p[1][tiles][4], ds[1][tiles][4];
    multiply_rows<Stored, Tile, whole>(p, rows[0], stage, groups);
#pragma unroll
    for (int j = 0; j < tiles; ++j) {
      if (!whole && j / 2 >= groups) break;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 8 * j + 2 * t + e;
        const bool kept = whole || entry.keeps(begin + column, others);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& score = p[0][j][2 * h + e];
          const float lse = over_keys ? column_lse[column] * log2e : row_lse[h];
          score = kept ? ex2_approx(__fmaf_rn(score, factor, -lse)) : 0;
        }
      }
    }
    if constexpr (over_keys)
      if (out.dv) multiply_weights<Stored, Tile, whole>(weighted, p, second, groups, half);
    if (over_keys && !out.dk) return;
    multiply_rows<Stored, Tile, whole>(ds, rows[1], second, groups);
#pragma unroll
    for (int j = 0; j < tiles; ++j) {
      if (!whole && j / 2 >= groups) break;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float delta =
            over_keys ? column_lse[columns + 8 * j + 2 * t + e % 2] : row_delta[e / 2];
        ds[0][j][e] = p[0][j][e] * (ds[0][j][e] - delta);
      }
    }
    multiply_weights<Stored, Tile, whole>(graded, ds, stage, groups, half);
  };
  for (int begin = part_begin, parity = 0; begin < part_end; begin += columns, parity ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is here, and all are done with the one before
    if (begin + columns < part_end) load_right(begin + columns, parity ^ 1);
    if (begin == part_begin)
#pragma unroll
      for (int i = 0; i < 2; ++i) rows[i].load(left[i] + warp_index() * 16 * Tile::row_bytes);
    if (warp_first >= count) continue;  // no row for this warp
    // Queries past the end are zeros and add nothing.
    if (over_keys || (begin + columns <= part_end && !entry.mask))
      step(begin, parity, std::true_type());
    else if constexpr (!over_keys)
      step(begin, parity, std::false_type());
  }
  cp_async_commit();  // with no tile to walk, nobody has committed the first rows
  cp_async_wait<0>();
  __syncthreads();
  if (warp_first >= count) return;

  leave_gradients<side>(in, entry, n, head, part, warp_first,
                        left[0] + warp_index() * 16 * Tile::row_bytes, out, shares, weighted,
                        graded);
}

// delta[n][k][t] = dy·y, what the gradient of softmax subtracts: eight lanes to a row.
template <class Stored, int width>
__global__ void delta_kernel(const Stored* dy, const Stored* y, float* delta, int64_t rows, int T,
                             int K, int D) {
  constexpr int lanes = 8;
  // All lanes of a warp take part in the shuffles, whether or not their row exists.
  for (int64_t base = 0; base < rows; base += grid_threads() / lanes) {
    const int64_t row = base + grid_thread() / lanes;  // of [N, T, K]
    float sum = 0;
    if (row < rows)
      for (int d = lane_index() % lanes * width; d < D; d += lanes * width) {
        const auto a = load_pack<Stored, width>(dy + row * D + d);
        const auto b = load_pack<Stored, width>(y + row * D + d);
#pragma unroll
        for (int i = 0; i < width; ++i) sum += widen(a.values[i]) * widen(b.values[i]);
      }
#pragma unroll
    for (int offset = lanes / 2; offset > 0; offset >>= 1)
      sum += __shfl_xor_sync(whole_warp, sum, offset);
    if (row >= rows || lane_index() % lanes != 0) continue;
    const int64_t sequence = row / K;  // of [N, T]
    delta[(sequence / T * K + row % K) * T + sequence % T] = sum;
  }
}

// y[i] = Σ over parts of shares[part][i], in order.
template <class Stored, int width>
__global__ void sum_parts(const float* shares, Stored* y, int64_t count, int parts) {
  for (int64_t i = grid_thread() * width; i < count; i += grid_threads() * width) {
    Pack<float, width> sum = load_pack<float, width>(shares + i);
    for (int part = 1; part < parts; ++part) {
      const auto more = load_pack<float, width>(shares + part * count + i);
#pragma unroll
      for (int e = 0; e < width; ++e) sum.values[e] += more.values[e];
    }
    Pack<Stored, width> pack;
#pragma unroll
    for (int e = 0; e < width; ++e) pack.values[e] = narrow<Stored>(sum.values[e]);
    store_pack(y + i, pack);
  }
}

}  // namespace emulsion::cuda::attention
