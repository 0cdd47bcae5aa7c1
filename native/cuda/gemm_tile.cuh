// The inner parts of a matrix product: an operand's tile in shared memory, the copies that fill it,
// and what a warp does with two of them (tensor cores; plain float32). gemm.cuh puts them together.
//
// A tile is 64 bytes deep (32 elements of 16 bits, 16 of float32). Operands whose depth is
// contiguous in memory ("deep") keep rows of those 64 bytes, their 16-byte chunks swizzled by the
// row: the eight rows that one phase of ldmatrix reads, and the two that one phase of cp.async
// writes, lie in different banks. The others keep one row per depth, padded by 8 elements, with the
// same effect for ldmatrix.trans (16 bits: an odd number of chunks) and for 32-bit fragments (8
// words more than a multiple of 32).
#pragma once

#include "cuda/device.cuh"

namespace emulsion::cuda::gemm {

template <class T, int extent_, bool deep_>
struct Tile {
  static constexpr int extent = extent_;
  static constexpr bool deep = deep_;
  static constexpr int chunk = 16 / sizeof(T);
  static constexpr int depth = 64 / sizeof(T);
  static constexpr int pitch = deep ? depth : extent + 8;
  static constexpr int elements = (deep ? extent : depth) * pitch;

  // Of element (row, k), from the tile's start.
  static __device__ __forceinline__ uint32_t offset(uint32_t row, uint32_t k) {
    if constexpr (deep)
      return row * pitch + ((k / chunk) ^ (row >> 1 & 3)) * chunk + k % chunk;
    else
      return k * pitch + row;
  }
};

// What a loader answers: where `width` elements lie, and whether they exist (else zeros).
template <class T>
struct Source {
  const T* pointer;
  bool valid;
};

template <class T, int width>
__device__ __forceinline__ void copy_elements(T* shared, Source<T> source) {
  constexpr int bytes = width * sizeof(T);
  if constexpr (bytes >= 4) {
    cp_async<bytes>(shared, source.pointer, source.valid);
  } else {
    T value{};
    if (source.valid) value = *source.pointer;
    *shared = value;
  }
}

// One thread's share of filling a tile with a loader's elements (gemm.cuh says what a loader is).
template <class Loader, class Tile, int threads>
class Copies {
 public:
  __device__ __forceinline__ Copies(const Loader& loader, int batch, int first_row, int first_k)
      : cursor_(loader, batch, first_row, first_k) {
#pragma unroll
    for (int i = 0; i < slots; ++i)
      if (taken(i)) cursor_.place(i, row(i), k(i));
  }

  // The tile at the cursor, which then stands at the next one.
  __device__ __forceinline__ void copy(typename Loader::Element* tile) {
#pragma unroll
    for (int i = 0; i < slots; ++i)
      if (taken(i))
        copy_elements<typename Loader::Element, width>(tile + place(i), cursor_.source(i));
    cursor_.advance(Tile::depth);
  }

 private:
  static constexpr int width = Loader::width;
  static constexpr int per_line = (Tile::deep ? Tile::depth : Tile::extent) / width;
  static constexpr int total = (Tile::deep ? Tile::extent : Tile::depth) * per_line;
  static constexpr int slots = (total + threads - 1) / threads;
  static constexpr int step = threads / per_line;  // lines between a thread's slots
  static constexpr bool even = threads % per_line == 0;
  static_assert(!Tile::deep || even, "a thread's copies share their depth");

  static __device__ __forceinline__ bool taken(int slot) {
    return total % threads == 0 || static_cast<int>(threadIdx.x) + slot * threads < total;
  }
  static __device__ __forceinline__ uint32_t line(int slot) {
    return even ? threadIdx.x / per_line + slot * step : (threadIdx.x + slot * threads) / per_line;
  }
  static __device__ __forceinline__ uint32_t along(int slot) {
    return width * (even ? threadIdx.x % per_line : (threadIdx.x + slot * threads) % per_line);
  }
  static __device__ __forceinline__ uint32_t row(int slot) {
    return Tile::deep ? line(slot) : along(slot);
  }
  static __device__ __forceinline__ uint32_t k(int slot) {
    return Tile::deep ? along(slot) : line(slot);
  }
  static __device__ __forceinline__ uint32_t place(int slot) {
    // Eight lines on, the swizzle repeats.
    if constexpr (even && (!Tile::deep || step % 8 == 0))
      return Tile::offset(row(0), k(0)) + slot * step * Tile::pitch;
    else
      return Tile::offset(row(slot), k(slot));
  }

  typename Loader::template Cursor<slots> cursor_;
};

// ---- a warp's share of the product: rows x columns sums in registers, fed from the two tiles at
// the warp's first row and column.

// Tensor cores, by warps of any multiple of 16 rows and 8 columns: 16-bit elements as they are,
// float32 rounded to TF32 on the way into registers. Fragments of the next step load while the
// current one multiplies.
template <class T, class TileA, class TileB, int rows_, int columns_>
class TensorCores {
 public:
  static constexpr int rows = rows_, columns = columns_;
  static constexpr bool buffered = true;
  static constexpr int step = 32 / sizeof(T);  // depth of one mma
  static constexpr int steps = TileA::depth / step;
  // Tensor cores truncate where they add: an uninterrupted sum drifts with its depth.
  static constexpr int longest_sum = 4096;
  static constexpr int sums = rows * columns / 32;  // per thread

  __device__ __forceinline__ TensorCores(int first_row, int first_column)
      : first_row_(first_row), first_column_(first_column) {
    clear();
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int j = 0; j < column_tiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum_[i][j][e] = 0.0f;
  }

  __device__ __forceinline__ void load(int buffer, const T* a, const T* b, int at) {
#pragma unroll
    for (int i = 0; i < row_tiles; ++i) load_rows(a_[buffer][i], a, first_row_ + 16 * i, at * step);
#pragma unroll
    for (int j = 0; j + 1 < column_tiles; j += 2)
      load_columns(b_[buffer][j], b_[buffer][j + 1], b, first_column_ + 8 * j, at * step);
    if constexpr (column_tiles % 2 == 1)
      load_columns(b_[buffer][column_tiles - 1], b, first_column_ + 8 * (column_tiles - 1),
                   at * step);
  }

  __device__ __forceinline__ void multiply(int buffer) {
#pragma unroll
    for (int i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int j = 0; j < column_tiles; ++j) {
        const auto& b = b_[buffer][j];
        if constexpr (sizeof(T) == 2)
          mma_m16n8k16<T>(sum_[i][j], a_[buffer][i], b[0], b[1]);
        else
          mma_m16n8k8_tf32(sum_[i][j], a_[buffer][i], b[0], b[1]);
      }
  }

  // body(four sums) for all of them, in a fixed order. The barriers keep the compiler from holding
  // what all the bodies load at once.
  template <class Body>
  __device__ __forceinline__ void for_sums(Body body) {
#pragma unroll
    for (int i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int j = 0; j < column_tiles; ++j) {
        if (j % 2 == 0) __syncwarp();
        body(sum_[i][j], i * column_tiles + j);
      }
  }

  // The sums of 16 rows.
  using Rows = float[columns / 2];
  __device__ __forceinline__ Rows& rows_of(int i) { return reinterpret_cast<Rows&>(sum_[i]); }

 private:
  static constexpr int row_tiles = rows / 16, column_tiles = columns / 8;
  static_assert(rows % 16 == 0 && columns % 8 == 0);
  using Fragment = uint32_t[2];

  static __device__ __forceinline__ uint32_t to_tf32(uint32_t word) {
    return cvt_rna_tf32(__uint_as_float(word));
  }

  // 16 rows: registers in the order (rows, first half of the depth), (rows + 8, first half), second
  // halves.
  static __device__ __forceinline__ void load_rows(uint32_t (&r)[4], const T* tile, int row,
                                                   int k) {
    const int lane = lane_index();
    if constexpr (TileA::deep) {
      ldmatrix_x4(r, tile + TileA::offset(row + lane % 16, k + lane / 16 * TileA::chunk));
    } else if constexpr (sizeof(T) == 2) {
      ldmatrix_x4_trans(r,
                        tile + TileA::offset(row + lane / 8 % 2 * 8, k + lane % 8 + lane / 16 * 8));
    } else {
      const int g = lane / 4, t = lane % 4;
#pragma unroll
      for (int e = 0; e < 4; ++e)
        r[e] = __float_as_uint(tile[TileA::offset(row + g + e % 2 * 8, k + t + e / 2 * 4)]);
    }
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (uint32_t& word : r) word = to_tf32(word);
    }
  }

  // Two times eight columns: both halves of the depth of each.
  static __device__ __forceinline__ void load_columns(Fragment& left, Fragment& right,
                                                      const T* tile, int column, int k) {
    const int lane = lane_index();
    if constexpr (TileB::deep || sizeof(T) == 2) {
      uint32_t r[4];
      if constexpr (TileB::deep)
        ldmatrix_x4(r, tile + TileB::offset(column + lane % 8 + lane / 16 * 8,
                                            k + lane / 8 % 2 * TileB::chunk));
      else
        ldmatrix_x4_trans(r, tile + TileB::offset(column + lane / 16 * 8, k + lane % 16));
      keep(left, r[0], r[1]);
      keep(right, r[2], r[3]);
    } else {
      load_columns(left, tile, column, k);
      load_columns(right, tile, column + 8, k);
    }
  }

  static __device__ __forceinline__ void load_columns(Fragment& out, const T* tile, int column,
                                                      int k) {
    const int lane = lane_index();
    if constexpr (TileB::deep || sizeof(T) == 2) {
      uint32_t r[2];
      if constexpr (TileB::deep)
        ldmatrix_x2(r, tile + TileB::offset(column + lane % 8, k + lane / 8 % 2 * TileB::chunk));
      else
        ldmatrix_x2_trans(r, tile + TileB::offset(column, k + lane % 16));
      keep(out, r[0], r[1]);
    } else {
      const int g = lane / 4, t = lane % 4;
      keep(out, __float_as_uint(tile[TileB::offset(column + g, k + t)]),
           __float_as_uint(tile[TileB::offset(column + g, k + t + 4)]));
    }
  }

  static __device__ __forceinline__ void keep(Fragment& out, uint32_t first, uint32_t second) {
    out[0] = sizeof(T) == 4 ? to_tf32(first) : first;
    out[1] = sizeof(T) == 4 ? to_tf32(second) : second;
  }

  const int first_row_, first_column_;
  float sum_[row_tiles][column_tiles][4];
  uint32_t a_[2][row_tiles][4];
  Fragment b_[2][column_tiles];
};

// Plain float32: 4 x 8 lanes, (rows / 4) x (columns / 8) sums each, four deep per step. The lanes
// go in a Z: a lane and its neighbour share their column, a lane and the one after its neighbour
// their row, so that a 16-byte read of shared memory serves pairs of lanes with one access.
template <class TileA, class TileB, int rows_, int columns_>
class Fma {
 public:
  static constexpr int rows = rows_, columns = columns_;
  static constexpr bool buffered = false;
  static constexpr int step = 4;
  static constexpr int steps = TileA::depth / step;
  static constexpr int longest_sum = 0;  // any
  static constexpr int sums = rows * columns / 32;

  __device__ __forceinline__ Fma(int first_row, int first_column)
      : first_row_(first_row), first_column_(first_column) {
#pragma unroll
    for (int i = 0; i < m; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j) sum_[i][j] = 0.0f;
  }

  // Of a deep operand all four depths arrive at once; the other is taken bit by bit, so that both
  // fit into registers beside the sums.
  __device__ __forceinline__ void multiply(const float* a, const float* b, int at) {
    const int k = at * step;
    float left[step][m], right[step][n];
    if constexpr (TileA::deep) {
#pragma unroll
      for (int i = 0; i < m; ++i) load_deep<TileA>(left, i, a, first_row_, row_lane(), 4, k);
    }
    if constexpr (TileA::deep && TileB::deep) {
#pragma unroll
      for (int j = 0; j < n; ++j) {
        load_deep<TileB>(right, j, b, first_column_, column_lane(), 8, k);
#pragma unroll
        for (int e = 0; e < step; ++e)
#pragma unroll
          for (int i = 0; i < m; ++i) sum_[i][j] = fmaf(left[e][i], right[e][j], sum_[i][j]);
      }
      return;
    }
    if constexpr (TileB::deep) {
#pragma unroll
      for (int j = 0; j < n; ++j) load_deep<TileB>(right, j, b, first_column_, column_lane(), 8, k);
    }
#pragma unroll
    for (int e = 0; e < step; ++e) {
      if constexpr (!TileA::deep) load_line<TileA>(left[e], a, first_row_, row_lane(), 4, k + e);
      if constexpr (!TileB::deep)
        load_line<TileB>(right[e], b, first_column_, column_lane(), 8, k + e);
#pragma unroll
      for (int i = 0; i < m; ++i)
#pragma unroll
        for (int j = 0; j < n; ++j) sum_[i][j] = fmaf(left[e][i], right[e][j], sum_[i][j]);
    }
  }

  // Lays 16 rows of sums into a slab of floats.
  __device__ __forceinline__ void put(int slab, float* to, int pitch) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j)
        to[index<TileA>(i, row_lane(), 4) * pitch + index<TileB>(j, column_lane(), 8)] =
            sum_[4 * slab + i][j];
  }

 private:
  static constexpr int m = rows / 4, n = columns / 8;
  static_assert(m % 4 == 0 && n % 4 == 0);

  static __device__ __forceinline__ int row_lane() {
    return lane_index() % 2 + lane_index() / 16 * 2;
  }
  static __device__ __forceinline__ int column_lane() { return lane_index() / 2 % 8; }

  // Which row (or column) of the warp's share a lane's i-th is: deep tiles give 16 bytes of one
  // row, the others four rows at one depth.
  template <class Tile>
  static __device__ __forceinline__ int index(int i, int lane, int lanes) {
    return Tile::deep ? lane + lanes * i : 4 * (lane + lanes * (i / 4)) + i % 4;
  }

  // Row i at four depths.
  template <class Tile, int count>
  static __device__ __forceinline__ void load_deep(float (&out)[step][count], int i,
                                                   const float* tile, int first, int lane,
                                                   int lanes, int k) {
    const auto pack = load_pack(tile + Tile::offset(first + index<Tile>(i, lane, lanes), k));
#pragma unroll
    for (int e = 0; e < step; ++e) out[e][i] = pack.values[e];
  }

  // All rows at one depth.
  template <class Tile, int count>
  static __device__ __forceinline__ void load_line(float (&out)[count], const float* tile,
                                                   int first, int lane, int lanes, int k) {
#pragma unroll
    for (int i = 0; i < count; i += 4) {
      const auto pack = load_pack(tile + Tile::offset(first + index<Tile>(i, lane, lanes), k));
#pragma unroll
      for (int c = 0; c < 4; ++c) out[i + c] = pack.values[c];
    }
  }

  const int first_row_, first_column_;
  float sum_[m][n];
};

}  // namespace emulsion::cuda::gemm
