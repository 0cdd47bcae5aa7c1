// Two ways to multiply tiles for attention_wide.cuh, with one face.
//
// A block owns 64 rows. Per tile of the other side an engine makes scores [64, columns] from chunks
// of both sides along D, keeps weights of that shape in shared memory, and adds weights times
// chunks of a few rows of the other side to sums [64, width].
//
// A thread has scores at rows row(i) and columns column(j); stages are the ring buffers of chunks.
#pragma once

#include "cuda/attention_tile.cuh"

namespace emulsion::cuda::attention {

// Tensor cores, 16-bit operands: eight warps of 32 rows and a quarter of the columns each.
template <class Stored_, int columns_>
struct TensorEngine {
  using Stored = Stored_;
  static constexpr int threads = 256, blocks_per_sm = 1;
  static constexpr int rows = 64, columns = columns_, depth = 64, width = 512, chunk = 16,
                       stages = 3;
  static constexpr int own = columns / 4;  // columns of a warp
  static constexpr int row_count = 4, column_count = own / 4;
  using Pair = Swizzled<depth>;
  using Value = Swizzled<width>;
  using Weight = Swizzled<columns>;
  static constexpr int stage_bytes = (rows + columns) * Pair::row_bytes;
  static constexpr int weight_bytes = rows * Weight::row_bytes;
  static constexpr int bytes = stages * stage_bytes + weight_bytes + 4 * rows * 4;

  struct Scores {
    float c[2][own / 8][4];
    __device__ __forceinline__ float& at(int i, int j) {
      return c[i / 2][j / 2][i % 2 * 2 + j % 2];
    }
  };

  float sums[2][width / 4 / 8][4];
  unsigned char *weights, *exchange;
  int row0, column0, pairs, sums_column;  // where this thread's scores begin, and its sums

  __device__ __forceinline__ TensorEngine(unsigned char* shared, int used_width)
      : weights(shared + stages * stage_bytes), exchange(weights + weight_bytes) {
    row0 = warp_index() / 4 * 32 + lane_index() / 4;
    column0 = warp_index() % 4 * own + lane_index() % 4 * 2;
    pairs = used_width / 64;
    sums_column = warp_index() % 4 * (used_width / 4);
    clear(sums);
  }
  __device__ __forceinline__ int row(int i) const { return row0 + 8 * i; }
  __device__ __forceinline__ int column(int j) const { return column0 + j / 2 * 8 + j % 2; }

  __device__ __forceinline__ static void load_pair(unsigned char* stage,
                                                   const Rows<const Stored>& left, int row,
                                                   const Rows<const Stored>& right, int column,
                                                   int d) {
    load_rows<Pair, rows, Pair::slots, threads>(stage, left, row, d);
    load_rows<Pair, columns, Pair::slots, threads>(stage + rows * Pair::row_bytes, right, column,
                                                   d);
  }
  __device__ __forceinline__ static void load_values(unsigned char* stage,
                                                     const Rows<const Stored>& values, int row,
                                                     int d) {
    load_rows<Value, chunk, Value::slots, threads>(stage, values, row, d);
  }

  __device__ __forceinline__ static void clear_scores(Scores& scores) { clear(scores.c); }
  // scores += left · rightᵀ over a chunk.
  __device__ __forceinline__ static void multiply(Scores& scores, const unsigned char* stage) {
    const int lane = lane_index();
    const unsigned char* const left = stage + warp_index() / 4 * 32 * Pair::row_bytes;
    const unsigned char* const right = stage + (rows + warp_index() % 4 * own) * Pair::row_bytes;
    const int row = (lane & 7) + (lane >> 4 << 3), half = lane >> 3 & 1;
#pragma unroll
    for (int k = 0; k < depth / 16; ++k) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_fragment<Pair>(a[m], left + m * 16 * Pair::row_bytes, k);
#pragma unroll
      for (int pair = 0; pair < own / 16; ++pair) {
        uint32_t b[4];
        ldmatrix_x4(b, right + Pair::at(row, 2 * k + half) + pair * 16 * Pair::row_bytes);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma_m16n8k16<Stored>(scores.c[m][2 * pair], a[m], b[0], b[1]);
          mma_m16n8k16<Stored>(scores.c[m][2 * pair + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  __device__ __forceinline__ void put_weights(Scores& scores) {
    const int t = lane_index() % 4;
#pragma unroll
    for (int i = 0; i < row_count; ++i)
#pragma unroll
      for (int j = 0; j < column_count; j += 2)
        *reinterpret_cast<uint32_t*>(weights + Weight::at(row(i), column(j) / 8) + 4 * t) =
            pack2<Stored>(scores.at(i, j), scores.at(i, j + 1));
  }
  // sums += weights[:, chunk i] · values
  __device__ __forceinline__ void accumulate(const unsigned char* stage, int i) {
    const int lane = lane_index();
    uint32_t a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
      load_fragment<Weight>(a[m], weights + (warp_index() / 4 * 32 + m * 16) * Weight::row_bytes,
                            i);
#pragma unroll
    for (int pair = 0; pair < width / 64; ++pair) {
      if (pair >= pairs) break;
      uint32_t b[4];
      ldmatrix_x4_trans(b, stage + Value::at(lane & 15, sums_column / 8 + 2 * pair + (lane >> 4)));
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_m16n8k16<Stored>(sums[m][2 * pair], a[m], b[0], b[1]);
        mma_m16n8k16<Stored>(sums[m][2 * pair + 1], a[m], b[2], b[3]);
      }
    }
  }

  // Over a row's columns in all threads; may be called again at once.
  template <class Combine>
  __device__ __forceinline__ void reduce_rows(float (&values)[row_count], Combine combine) {
    auto* const partial = reinterpret_cast<float*>(exchange);  // [4, rows]
    __syncthreads();
#pragma unroll
    for (int i = 0; i < row_count; ++i) {
      values[i] = combine(values[i], __shfl_xor_sync(whole_warp, values[i], 1));
      values[i] = combine(values[i], __shfl_xor_sync(whole_warp, values[i], 2));
      if (lane_index() % 4 == 0) partial[warp_index() % 4 * rows + row(i)] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < row_count; ++i) {
      const float* const at = partial + row(i);
      values[i] = combine(combine(at[0], at[rows]), combine(at[2 * rows], at[3 * rows]));
    }
  }
  __device__ __forceinline__ void scale_sums(const float (&factors)[row_count]) {
#pragma unroll
    for (int j = 0; j < width / 32; ++j)
#pragma unroll
      for (int e = 0; e < 8; ++e) sums[e / 4][j][e % 4] *= factors[e / 2];
  }
  // Calls store(row(i)'s index i, column of the sums, neighbours).
  template <class Store>
  __device__ __forceinline__ void store_sums(Store&& store) const {
    const int t = lane_index() % 4;
#pragma unroll
    for (int j = 0; j < width / 32; ++j) {
      if (j / 2 >= pairs) break;
#pragma unroll
      for (int i = 0; i < row_count; ++i) {
        const float pair[2] = {sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]};
        store(i, sums_column + 8 * j + 2 * t, pair);
      }
    }
  }
};

// Fused multiply-adds, float32: half a warp shares its rows, so that what it reads of them is one
// access of shared memory.
template <int width_>
struct PlainEngine {
  using Stored = float;
  static constexpr int threads = width_ > 64 ? 256 : 128, blocks_per_sm = width_ > 64 ? 1 : 2;
  static constexpr int rows = 64, columns = 64, depth = 32, width = width_, chunk = 4096 / width;
  static constexpr int stages = 2;
  static constexpr int row_count = 1024 / threads, column_count = 4;
  struct Pair {
    static constexpr int slots = depth / 4, row_bytes = 4 * depth + 16;
    __device__ __forceinline__ static int at(int row, int slot) {
      return row * row_bytes + slot * 16;
    }
  };
  struct Value {
    static constexpr int slots = width / 4, row_bytes = 4 * width;
    __device__ __forceinline__ static int at(int row, int slot) {
      return row * row_bytes + slot * 16;
    }
  };
  static constexpr int weight_stride = rows + 4;  // weights lie as [column][row]
  static constexpr int stage_bytes = (rows + columns) * Pair::row_bytes;
  static constexpr int bytes = stages * stage_bytes + columns * weight_stride * 4;
  static_assert(chunk * Value::row_bytes <= stage_bytes);

  struct Scores {
    float c[row_count][column_count];
    __device__ __forceinline__ float& at(int i, int j) { return c[i][j]; }
  };

  float sums[row_count][width / 16];
  float* weights;
  int ty, tx, groups;

  __device__ __forceinline__ PlainEngine(unsigned char* shared, int used_width)
      : weights(reinterpret_cast<float*>(shared + stages * stage_bytes)),
        ty(static_cast<int>(threadIdx.x) / 16),
        tx(static_cast<int>(threadIdx.x) % 16),
        groups(used_width / 64) {
#pragma unroll
    for (int i = 0; i < row_count; ++i)
#pragma unroll
      for (int j = 0; j < width / 16; ++j) sums[i][j] = 0;
  }
  // Rows in fours, so that the two rows that a warp reads at once lie in different banks.
  __device__ __forceinline__ int row(int i) const { return i / 4 * 32 + ty * 4 + i % 4; }
  __device__ __forceinline__ int column(int j) const { return tx + 16 * j; }

  __device__ __forceinline__ static void load_pair(unsigned char* stage,
                                                   const Rows<const float>& left, int row,
                                                   const Rows<const float>& right, int column,
                                                   int d) {
    load_rows<Pair, rows, Pair::slots, threads>(stage, left, row, d);
    load_rows<Pair, columns, Pair::slots, threads>(stage + rows * Pair::row_bytes, right, column,
                                                   d);
  }
  __device__ __forceinline__ static void load_values(unsigned char* stage,
                                                     const Rows<const float>& values, int row,
                                                     int d) {
    load_rows<Value, chunk, Value::slots, threads>(stage, values, row, d);
  }

  __device__ __forceinline__ static void clear_scores(Scores& scores) {
#pragma unroll
    for (int i = 0; i < row_count; ++i)
#pragma unroll
      for (int j = 0; j < column_count; ++j) scores.c[i][j] = 0;
  }
  __device__ __forceinline__ void multiply(Scores& scores, const unsigned char* stage) const {
    const unsigned char* const right = stage + rows * Pair::row_bytes;
#pragma unroll
    for (int slot = 0; slot < Pair::slots; ++slot) {
      Pack<float> b[column_count];
#pragma unroll
      for (int j = 0; j < column_count; ++j)
        b[j] = load_pack(reinterpret_cast<const float*>(right + Pair::at(column(j), slot)));
#pragma unroll
      for (int i = 0; i < row_count; ++i) {
        const auto a = load_pack(reinterpret_cast<const float*>(stage + Pair::at(row(i), slot)));
#pragma unroll
        for (int j = 0; j < column_count; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            scores.c[i][j] = __fmaf_rn(a.values[e], b[j].values[e], scores.c[i][j]);
      }
    }
  }

  __device__ __forceinline__ void put_weights(Scores& scores) {
#pragma unroll
    for (int j = 0; j < column_count; ++j)
#pragma unroll
      for (int i = 0; i < row_count; i += 4) {
        Pack<float> pack;
#pragma unroll
        for (int e = 0; e < 4; ++e) pack.values[e] = scores.c[i + e][j];
        store_pack(weights + column(j) * weight_stride + row(i), pack);
      }
  }
  __device__ __forceinline__ void accumulate(const unsigned char* stage, int i) {
    const float* weight = weights + i * chunk * weight_stride;
#pragma unroll 4
    for (int key = 0; key < chunk; ++key, weight += weight_stride) {
      Pack<float> w[row_count / 4];
#pragma unroll
      for (int m = 0; m < row_count; m += 4) w[m / 4] = load_pack(weight + row(m));
#pragma unroll
      for (int j = 0; j < width / 64; ++j) {
        if (j >= groups) break;
        const auto value =
            load_pack(reinterpret_cast<const float*>(stage + Value::at(key, tx + 16 * j)));
#pragma unroll
        for (int m = 0; m < row_count; ++m)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            sums[m][4 * j + e] =
                __fmaf_rn(w[m / 4].values[m % 4], value.values[e], sums[m][4 * j + e]);
      }
    }
  }

  template <class Combine>
  __device__ __forceinline__ void reduce_rows(float (&values)[row_count], Combine combine) const {
#pragma unroll
    for (float& value : values)
#pragma unroll
      for (int offset = 8; offset > 0; offset >>= 1)
        value = combine(value, __shfl_xor_sync(whole_warp, value, offset));
  }
  __device__ __forceinline__ void scale_sums(const float (&factors)[row_count]) {
#pragma unroll
    for (int i = 0; i < row_count; ++i)
#pragma unroll
      for (int j = 0; j < width / 16; ++j) sums[i][j] *= factors[i];
  }
  template <class Store>
  __device__ __forceinline__ void store_sums(Store&& store) const {
#pragma unroll
    for (int j = 0; j < width / 64; ++j) {
      if (j >= groups) break;
#pragma unroll
      for (int i = 0; i < row_count; ++i) {
        const float neighbours[4] = {sums[i][4 * j], sums[i][4 * j + 1], sums[i][4 * j + 2],
                                     sums[i][4 * j + 3]};
        store(i, 64 * j + 4 * tx, neighbours);
      }
    }
  }
};

}  // namespace emulsion::cuda::attention
