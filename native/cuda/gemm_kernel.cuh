// The kernels of gemm.cuh: what a block does with its tile of C, and the pass that adds the parts
// of a split product.
#pragma once

#include <optional>

#include "cuda/gemm_leave.cuh"
#include "cuda/gemm_tile.cuh"
#include "cuda/host.h"
#include "cuda/tensor_box.h"

namespace emulsion::cuda::gemm {

constexpr int most_axes = Shape::max_rank - 2;

// Where the matrices of a batch begin: the batch index over axes of which an operand may skip some.
struct Batches {
  int axes = 0;
  int extents[most_axes] = {};
  int64_t strides[most_axes] = {};  // in elements

  __device__ __forceinline__ int64_t operator()(int batch) const {
    int64_t offset = 0;
#pragma unroll
    for (int axis = most_axes - 1; axis >= 0; --axis) {
      if (axis >= axes) continue;
      const int rest = batch / extents[axis];
      offset += (batch - rest * extents[axis]) * strides[axis];
      batch = rest;
    }
    return offset;
  }
};

// How bulk copies (gemm_hopper.cuh) see an operand's tiles, by the coordinates of their boxes:
// (k, row, batch), (row, k, batch) or (k, 0, 0, row / 8), eight rows being two fours.
enum class Lines { deep, wide, paired };

template <Lines lines_>
struct Boxes {
  static constexpr Lines lines = lines_;
  const void* base;
  TensorBox box;
  bool batched;  // else one matrix for all batches
};

// A matrix in memory. deep_: rows x depth, row-major; else depth x rows.
template <class T, bool deep_, int width_>
struct Matrix {
  using Element = T;
  static constexpr bool deep = deep_;
  static constexpr int width = width_;

  const T* data;
  int64_t pitch;  // elements between lines
  int rows, depth;
  Batches batches;

  // Boxes of `along` contiguous elements by `across`, where one stride leads from batch to batch.
  using Found = Boxes<deep ? Lines::deep : Lines::wide>;
  std::optional<Found> boxes(int along, int across) const {
    if (batches.axes > 1) return {};
    constexpr int64_t size = sizeof(T);
    const bool batched = batches.axes == 1 && batches.strides[0] != 0;
    const int64_t count = deep ? rows : depth;
    return Found{data,
                 {3,
                  {deep ? depth : rows, count, batched ? batches.extents[0] : 1},
                  {size, pitch * size, (batched ? batches.strides[0] : count * pitch) * size},
                  {along, across, 1},
                  static_cast<int>(along * size)},
                 batched};
  }

  // Row `row` of a deep matrix; null behind the last.
  __device__ __forceinline__ const T* line(int batch, int row) const {
    return row < rows ? data + batches(batch) + row * pitch : nullptr;
  }

  template <int slots>
  class Cursor {
   public:
    __device__ __forceinline__ Cursor(const Matrix& matrix, int batch, int first_row, int first_k)
        : pitch_(matrix.pitch),
          rows_left_(matrix.rows - first_row),
          depth_left_(matrix.depth - first_k),
          at_(matrix.data + matrix.batches(batch) +
              (deep ? first_row * matrix.pitch + first_k : first_k * matrix.pitch + first_row)) {}

    __device__ __forceinline__ void place(int slot, int row, int k) {
      if (deep && slot == 0) {
        at_ += k;
        depth_left_ -= k;
      }
      line_[slot] = deep ? row : k;
      along_[slot] = deep ? 0 : row;
      offset_[slot] = static_cast<uint32_t>((line_[slot] * pitch_ + along_[slot]) / width);
      if (row < rows_left_) inside_ |= 1u << slot;
    }
    __device__ __forceinline__ Source<T> source(int slot) const {
      // Whole chunks of any memory are counted in 32 bits; single elements may need more.
      const int64_t offset = width == 1 ? line_[slot] * pitch_ + along_[slot]
                                        : static_cast<int64_t>(offset_[slot]) * width;
      return {at_ + offset, (inside_ >> slot & 1) != 0 && (deep ? 0 : line_[slot]) < depth_left_};
    }
    __device__ __forceinline__ void advance(int depth) {
      at_ += deep ? depth : depth * pitch_;
      depth_left_ -= depth;
    }

   private:
    static_assert(slots <= 32);
    const int64_t pitch_;
    const int rows_left_;
    int depth_left_;
    const T* at_;
    uint32_t inside_ = 0, offset_[slots];
    int line_[slots], along_[slots];
  };
};

// Tiles of a block: rows x columns, by row_warps x column_warps warps, over a ring of `stages`.
template <int rows_, int columns_, int row_warps_, int column_warps_, int stages_, int residents_>
struct BlockTiles {
  static constexpr int rows = rows_, columns = columns_;
  static constexpr int row_warps = row_warps_, column_warps = column_warps_;
  static constexpr int threads = 32 * row_warps * column_warps;
  static constexpr int stages = stages_;
  static constexpr int residents =
      residents_;  // blocks per multiprocessor that registers leave room for
};

enum class Unit { tensor_cores, fma };

template <Unit unit, class T, class Tiles, bool deep_a, bool deep_b>
struct Plan {
  using TileA = Tile<T, Tiles::rows, deep_a>;
  using TileB = Tile<T, Tiles::columns, deep_b>;
  static constexpr int warp_rows = Tiles::rows / Tiles::row_warps;
  static constexpr int warp_columns = Tiles::columns / Tiles::column_warps;
  using Math = std::conditional_t<unit == Unit::fma, Fma<TileA, TileB, warp_rows, warp_columns>,
                                  TensorCores<T, TileA, TileB, warp_rows, warp_columns>>;
  static constexpr int stage = TileA::elements + TileB::elements;                  // elements
  static constexpr int slab = Math::buffered ? 0 : 16 * slab_pitch(warp_columns);  // floats, a warp
  static constexpr size_t shared =
      std::max(Tiles::stages * stage * sizeof(T), Tiles::threads / 32 * slab * sizeof(float));
};

template <Unit unit, class Tiles, class A, class B, class Epilogue>
__global__ void __launch_bounds__(Tiles::threads, Tiles::residents)
    gemm_kernel(A a, B b, Epilogue epilogue, Work work) {
  using T = typename A::Element;
  using P = Plan<unit, T, Tiles, A::deep, B::deep>;
  using Math = typename P::Math;
  using TileA = typename P::TileA;
  constexpr int stages = Tiles::stages;
  T* const ring = reinterpret_cast<T*>(dynamic_shared());
  const Place place(work);
  const int first_row = place.row_tile * Tiles::rows,
            first_column = place.column_tile * Tiles::columns;
  const int warp_row = warp_index() / Tiles::column_warps * P::warp_rows;
  const int warp_column = warp_index() % Tiles::column_warps * P::warp_columns;
  const int first_step = place.split * work.steps_per_split;
  const int steps = ::min(work.steps_per_split, work.steps - first_step);

  Math math(warp_row, warp_column);
  if (steps > 0) {
    Copies<A, TileA, Tiles::threads> from_a(a, place.batch, first_row, first_step * TileA::depth);
    Copies<B, typename P::TileB, Tiles::threads> from_b(b, place.batch, first_column,
                                                        first_step * TileA::depth);
    const auto tile_a = [&](int step) { return ring + step % stages * P::stage; };
    const auto tile_b = [&](int step) { return tile_a(step) + TileA::elements; };
    const auto fetch = [&](int step) {
      if (step < steps) {
        from_a.copy(tile_a(step));
        from_b.copy(tile_b(step));
      }
      cp_async_commit();
    };
    for (int step = 0; step < stages - 1; ++step) fetch(step);
    if constexpr (Math::buffered) {
      constexpr int last = Math::steps - 1;
      constexpr int carry_every = Math::longest_sum / TileA::depth;
      Pack<float>* const carried =
          work.carried ? work.carried +
                             static_cast<int64_t>(blockIdx.x) * (Math::sums / 4) * Tiles::threads +
                             threadIdx.x
                       : nullptr;
      cp_async_wait<stages - 2>();
      __syncthreads();
      math.load(0, tile_a(0), tile_b(0), 0);
#pragma unroll 1
      for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (int at = 0; at <= last; ++at) {
          if (at < last)
            math.load((at + 1) % 2, tile_a(step), tile_b(step), at + 1);
          else if (step + 1 < steps)
            math.load((at + 1) % 2, tile_a(step + 1), tile_b(step + 1), 0);
          // Into the stage whose last fragments were read before the barrier of the step before.
          if (at == 0) fetch(step + stages - 1);
          math.multiply(at % 2);
          if (at == last - 1) {
            cp_async_wait<stages - 2>();
            __syncthreads();
          }
        }
        if (carried && (step + 1) % carry_every == 0 && step + 1 < steps) {
          const bool first = step + 1 == carry_every;
          math.for_sums([&](float(&v)[4], int index) {
            Pack<float> sum{{v[0], v[1], v[2], v[3]}};
            if (!first) {
              const Pack<float> before = carried[index * Tiles::threads];
#pragma unroll
              for (int e = 0; e < 4; ++e) sum.values[e] += before.values[e];
            }
            carried[index * Tiles::threads] = sum;
          });
          math.clear();
        }
      }
      if (carried && steps > carry_every)
        math.for_sums([&](float(&v)[4], int index) {
          const Pack<float> before = carried[index * Tiles::threads];
#pragma unroll
          for (int e = 0; e < 4; ++e) v[e] += before.values[e];
        });
    } else {
#pragma unroll 1
      for (int step = 0; step < steps; ++step) {
        cp_async_wait<stages - 2>();
        __syncthreads();
        fetch(step + stages - 1);
#pragma unroll 1
        for (int at = 0; at < Math::steps; ++at) math.multiply(tile_a(step), tile_b(step), at);
      }
    }
    cp_async_wait<0>();
  }
  if constexpr (Math::buffered) {
#pragma unroll
    for (int i = 0; i < P::warp_rows / 16; ++i)
      hand_over<false>(math.rows_of(i), first_row + warp_row + 16 * i, first_column + warp_column,
                       place, work, epilogue);
  } else {
    __syncthreads();  // the ring has been read
    float* const slab = reinterpret_cast<float*>(dynamic_shared()) + warp_index() * P::slab;
    hand_over(math, slab, first_row + warp_row, first_column + warp_column, place, work, epilogue);
  }
}

// The partial sums of a split product, added in order.
template <class Epilogue>
__global__ void __launch_bounds__(stream_threads)
    add_splits(const float* partial, int splits, int batches, int rows, int columns,
               Epilogue epilogue) {
  constexpr int width = Epilogue::width;
  const int pitch = rounded_columns<width>(columns), per_row = pitch / width;
  const int64_t lines = static_cast<int64_t>(batches) * rows, size = lines * pitch;
  for (int64_t i = grid_thread(); i < lines * per_row; i += grid_threads()) {
    const int64_t line = i / per_row;
    const int column = static_cast<int>(i - line * per_row) * width;
    const float* from = partial + line * pitch + column;
    float v[width] = {};
    for (int split = 0; split < splits; ++split, from += size)
#pragma unroll
      for (int e = 0; e < width; e += 4) {
        const auto pack = load_pack(from + e);
#pragma unroll
        for (int c = 0; c < 4; ++c) v[e + c] += pack.values[c];
      }
    const auto batch = static_cast<int>(line / rows);
    finish(epilogue, batch, static_cast<int>(line - static_cast<int64_t>(batch) * rows), column,
           columns - column, v);
  }
}

}  // namespace emulsion::cuda::gemm
