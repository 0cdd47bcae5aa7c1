// Data movement: every byte is read and written once, bandwidth is the roof.
//
// strided_copy merges axes that are contiguous together, then picks one of four kernels:
//   rows      the innermost axis stays: the widest units (up to 16 bytes) that all strides allow
//   transpose the innermost axis of x ends elsewhere: tiles through shared memory. Where extents
//             and pointers allow, 16 bytes per access on both sides: rows of narrow elements are
//             interleaved in registers to 4-byte words, so that shared memory is accessed in words,
//             free of bank conflicts. Otherwise element by element, in tiles that follow the shape
//             (three channels make a tile of 3 x 682 and not of 32 x 32).
//   repeat    the innermost axis repeats one element: it is read once and written as 16 bytes
//   strided   everything else, an element at a time
// concat copies up to 64 inputs in a launch, a row of blocks each.
#include "ops/layout.h"

#include "cuda/walk.cuh"

namespace emulsion::cuda {
namespace {

// ---- rows, repeat, strided

template <class Unit, bool wide>
__global__ void strided_kernel(const Unit* x, Unit* y, int64_t count, Walk<wide> walk) {
  stream(
      count, [&](int64_t i) { return x[walk.offset(i)]; },
      [&](int64_t i, Unit value) { y[i] = value; });
}

// count: packs of y.
template <class T, bool wide>
__global__ void repeat_kernel(const T* x, T* y, int64_t count, Walk<wide> walk) {
  stream(
      count, [&](int64_t i) { return x[walk.offset(i)]; },
      [&](int64_t i, T value) {
        Pack<T> pack;
#pragma unroll
        for (T& element : pack.values) element = value;
        store_pack(y + i * Pack<T>::size, pack);
      });
}

template <class Unit>
void copy_units(const Axes& axes, const void* x, void* y) {
  int64_t count = 1;
  for (int d = 0; d < axes.rank; ++d) count *= axes.size[d];
  dispatch_wide(count, [&]<bool wide>() {
    launch("strided_copy", strided_kernel<Unit, wide>, batched_grid(count),
           static_cast<const Unit*>(x), static_cast<Unit*>(y), count, Walk<wide>(axes));
  });
}

// The innermost axis is contiguous in x, or there is a single element.
void copy_rows(Axes axes, const char* x, char* y, int64_t bytes) {
  const int last = axes.rank - 1;
  int64_t unit = axes.rank ? widest_unit({address(x), address(y), axes.size[last] * bytes}) : bytes;
  for (int d = 0; d < last; ++d) unit = widest_unit({unit, axes.stride[d] * bytes});
  const int64_t elements = unit / bytes;
  if (axes.rank) axes.size[last] /= elements;
  for (int d = 0; d < last; ++d) axes.stride[d] /= elements;
  dispatch_unit(unit, [&]<class Unit>() { copy_units<Unit>(axes, x, y); });
}

template <class T>
void repeat_rows(Axes axes, const T* x, T* y) {
  axes.size[axes.rank - 1] /= Pack<T>::size;
  int64_t count = 1;
  for (int d = 0; d < axes.rank; ++d) count *= axes.size[d];
  dispatch_wide(count, [&]<bool wide>() {
    launch("strided_copy", repeat_kernel<T, wide>, batched_grid(count), x, y, count,
           Walk<wide>(axes));
  });
}

// ---- transpose

// A matrix is read along its columns axis (contiguous in x) and written along its rows axis
// (contiguous in y); all other axes hold further matrices. A block moves one tile of one matrix.
struct Matrices {
  int64_t rows, columns, x_pitch, y_pitch;
  Divisor row_tiles, column_tiles;
  int rank = 0;
  Divisor extents[Shape::max_rank];
  int64_t x_strides[Shape::max_rank], y_strides[Shape::max_rank];
  int64_t tiles;

  Matrices(const Axes& axes, int near, int tile_rows, int tile_columns) {
    const int last = axes.rank - 1;
    rows = axes.size[last];
    columns = axes.size[near];
    x_pitch = axes.stride[last];
    row_tiles = Divisor(ceil_div(rows, tile_rows));
    column_tiles = Divisor(ceil_div(columns, tile_columns));
    tiles = ceil_div(rows, tile_rows) * ceil_div(columns, tile_columns);
    int64_t dense = rows;
    for (int d = last - 1; d >= 0; --d) {
      if (d == near) {
        y_pitch = dense;
      } else {
        extents[rank] = Divisor(axes.size[d]);
        x_strides[rank] = axes.stride[d];
        y_strides[rank++] = dense;
        tiles *= axes.size[d];
      }
      dense *= axes.size[d];
    }
  }
};

// The block's tile.
struct Tile {
  int64_t from, to;   // its first element in x and y
  int rows, columns;  // of the matrix from there on, up to the tile's

  __device__ __forceinline__ Tile(const Matrices& matrices, int most_rows, int most_columns) {
    uint32_t row_tile, column_tile;
    uint32_t rest = matrices.row_tiles(blockIdx.x, row_tile);
    rest = matrices.column_tiles(rest, column_tile);
    const int64_t row = static_cast<int64_t>(row_tile) * most_rows;
    const int64_t column = static_cast<int64_t>(column_tile) * most_columns;
    from = row * matrices.x_pitch + column;
    to = column * matrices.y_pitch + row;
    for (int d = 0; d < matrices.rank; ++d) {
      uint32_t at;
      rest = matrices.extents[d](rest, at);
      from += at * matrices.x_strides[d];
      to += at * matrices.y_strides[d];
    }
    rows = static_cast<int>(::min(matrices.rows - row, static_cast<int64_t>(most_rows)));
    columns =
        static_cast<int>(::min(matrices.columns - column, static_cast<int64_t>(most_columns)));
  }
};

// Words of shared memory: an element, or as many rows of narrow ones as fill four bytes.
template <class T>
struct PackedTile {
  using Word = std::conditional_t<sizeof(T) < 4, uint32_t, T>;
  static constexpr int pack = 16 / sizeof(T);             // elements of a global access
  static constexpr int group = sizeof(Word) / sizeof(T);  // rows of a word
  static constexpr int words = sizeof(T) < 4 ? 32 : 64;   // down a column
  static constexpr int rows = words * group, columns = 8 * pack;
  static constexpr int word_pack = 16 / sizeof(Word);
  static constexpr int threads = 256;

  // An odd pitch separates the four columns that a warp reads, the skew the columns eight packs
  // apart that it writes.
  static __device__ __forceinline__ int place(int column, int word) {
    return column * (words + 1) + (column >> 5) * 4 + word;
  }
  static constexpr int size = columns * (words + 1) + columns / 32 * 4;
};

template <class T>
__global__ void __launch_bounds__(PackedTile<T>::threads)
    transpose_packs(const T* x, T* y, Matrices matrices) {
  using P = PackedTile<T>;
  using Word = typename P::Word;
  EMULSION_SHARED(Word, words, [P::size]);
  const Tile tile(matrices, P::rows, P::columns);
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int item = thread; item < P::words * 8; item += P::threads) {
    const int column = item % 8 * P::pack, word = item / 8, row = word * P::group;
    if (column >= tile.columns || row >= tile.rows) continue;
    Pack<T> rows[P::group];
#pragma unroll
    for (int k = 0; k < P::group; ++k)
      rows[k] = load_pack(x + tile.from + (row + k) * matrices.x_pitch + column);
#pragma unroll
    for (int e = 0; e < P::pack; ++e) {
      Word mixed = rows[0].values[e];
#pragma unroll
      for (int k = 1; k < P::group; ++k)
        mixed |= static_cast<Word>(rows[k].values[e]) << (8 * sizeof(T) * k % (8 * sizeof(Word)));
      words[P::place(column + e, word)] = mixed;
    }
  }
  __syncthreads();
#pragma unroll
  for (int item = thread; item < P::columns * P::rows / P::pack; item += P::threads) {
    const int column = item / 8 % P::columns, pack = item / 8 / P::columns * 8 + item % 8;
    if (column >= tile.columns || pack * P::pack >= tile.rows) continue;
    Pack<Word> out;
#pragma unroll
    for (int w = 0; w < P::word_pack; ++w)
      out.values[w] = words[P::place(column, pack * P::word_pack + w)];
    *reinterpret_cast<Pack<Word>*>(y + tile.to + column * matrices.y_pitch + pack * P::pack) = out;
  }
}

// What holds an element in shared memory: at least two bytes, so that no two threads share a half
// word.
template <class T>
using Held = std::conditional_t<sizeof(T) == 1, uint16_t, T>;

template <class T>
__global__ void transpose_elements(const T* x, T* y, Matrices matrices, Divisor tile_rows,
                                   Divisor tile_columns, int pitch) {
  auto* elements = reinterpret_cast<Held<T>*>(dynamic_shared());
  const Tile tile(matrices, static_cast<int>(tile_rows.divisor),
                  static_cast<int>(tile_columns.divisor));
  const uint32_t size = tile_rows.divisor * tile_columns.divisor;
  for (uint32_t first = threadIdx.x; first < size; first += batch * blockDim.x) {
    T values[batch] = {};
    int places[batch];
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      uint32_t column;
      const uint32_t i = first + k * blockDim.x, row = tile_columns(i, column);
      const bool inside =
          i < size && static_cast<int>(row) < tile.rows && static_cast<int>(column) < tile.columns;
      places[k] = inside ? static_cast<int>(column * pitch + row) : -1;
      if (inside) values[k] = x[tile.from + row * matrices.x_pitch + column];
    }
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (places[k] >= 0) elements[places[k]] = values[k];
  }
  __syncthreads();
#pragma unroll 4
  for (uint32_t i = threadIdx.x; i < size; i += blockDim.x) {
    uint32_t row;
    const uint32_t column = tile_rows(i, row);
    if (static_cast<int>(row) < tile.rows && static_cast<int>(column) < tile.columns)
      y[tile.to + column * matrices.y_pitch + row] = static_cast<T>(elements[column * pitch + row]);
  }
}

// Equal pieces of at most `most`.
int64_t even_piece(int64_t extent, int64_t most) {
  return ceil_div(extent, ceil_div(extent, most));
}

template <class T>
void transpose(const Axes& axes, int near, const T* x, T* y) {
  using P = PackedTile<T>;
  const int last = axes.rank - 1;
  const int64_t rows = axes.size[last], columns = axes.size[near];
  // A matrix that fills less of a packed tile moves faster by elements.
  bool packs = rows >= P::rows / 4 && columns >= P::columns / 4 && vectors(x, y) &&
               rows % P::pack == 0 && columns % P::pack == 0;
  for (int d = 0; d <= last; ++d) packs = packs && (d == near || axes.stride[d] % P::pack == 0);
  if (packs) {
    const Matrices matrices(axes, near, P::rows, P::columns);
    const Grid grid{dim3(static_cast<unsigned>(matrices.tiles)), dim3(P::threads)};
    return launch("strided_copy", transpose_packs<T>, grid, x, y, matrices);
  }
  constexpr int64_t held = sizeof(Held<T>), area = 8192 / held;
  const int64_t side = sizeof(T) < 4 ? 64 : 32;
  const int64_t narrow_rows = rows < side ? rows : 0;
  const int64_t tile_columns = even_piece(columns, narrow_rows ? area / narrow_rows : side);
  const int64_t tile_rows = even_piece(rows, std::max<int64_t>(area / tile_columns, 1));
  const int64_t pitch_words = ceil_div(tile_rows * held, 4) | 1;  // odd: columns in other banks
  const int64_t pitch = held < 4 ? pitch_words * 4 / held : tile_rows | 1;
  const Matrices matrices(axes, near, static_cast<int>(tile_rows), static_cast<int>(tile_columns));
  const Grid grid{dim3(static_cast<unsigned>(matrices.tiles)), dim3(stream_threads),
                  static_cast<size_t>(tile_columns * pitch * held)};
  launch("strided_copy", transpose_elements<T>, grid, x, y, matrices, Divisor(tile_rows),
         Divisor(tile_columns), static_cast<int>(pitch));
}

// The axis that the innermost one changes places with; -1 if there is none or the matrices are so
// small that they stay in the first-level cache anyway.
int transposed_axis(const Axes& axes) {
  const int last = axes.rank - 1;
  if (axes.stride[last] <= 1) return -1;
  for (int d = last - 1; d >= 0; --d)
    if (axes.stride[d] == 1) return axes.size[d] * axes.size[last] >= 1024 ? d : -1;
  return -1;
}

// ---- concat

struct Part {
  const void* from;
  int64_t count, start;  // units, and the column in y
};

template <bool wide>
struct Parts {
  static constexpr int most = 64;
  Part parts[most];
  Extent<wide> rows[most];  // units of a row
};

template <class Unit, bool wide>
__global__ void concat_kernel(Parts<wide> parts, Unit* y, int64_t y_row) {
  const Part part = parts.parts[blockIdx.y];
  const Extent<wide> x_row = parts.rows[blockIdx.y];
  const Unit* from = static_cast<const Unit*>(part.from);
  stream(
      part.count, [&](int64_t i) { return from[i]; },
      [&](int64_t i, Unit value) {
        Index<wide> column;
        const int64_t row = x_row(static_cast<Index<wide>>(i), column);
        y[row * y_row + part.start + column] = value;
      });
}

// Inputs of a common unit, one launch for up to Parts::most of them.
template <class Unit>
void concat_units(const Views& xs, int64_t rows, int64_t y_row, int64_t largest, View& y) {
  dispatch_wide(largest, [&]<bool wide>() {
    Parts<wide> parts;
    int filled = 0;
    int64_t start = 0, most = 0;
    const auto flush = [&] {
      Grid grid = batched_grid(most);
      grid.blocks.y = static_cast<unsigned>(filled);
      if (filled) launch("concat", concat_kernel<Unit, wide>, grid, parts, y.as<Unit>(), y_row);
      filled = 0;
      most = 0;
    };
    for (const View& x : xs) {
      const int64_t count = x.bytes() / static_cast<int64_t>(sizeof(Unit));
      if (count == 0) continue;
      parts.parts[filled] = {x.data, count, start};
      parts.rows[filled++] = Extent<wide>(count / rows);
      start += count / rows;
      most = std::max(most, count);
      if (filled == Parts<wide>::most) flush();
    }
    flush();
  });
}

}  // namespace

void strided_copy(const View& x, const Shape& strides, int64_t offset, View& y) {
  check_strided_copy(x, strides, offset, y);
  if (y.numel() == 0) return;
  Axes axes;
  for (int k = 0; k < y.rank(); ++k) axes.add(y.dim(k), strides[k]);
  const int64_t bytes = dtype_size(x.dtype);
  const int last = axes.rank - 1;
  if (axes.rank == 0 || axes.stride[last] == 1)
    return copy_rows(axes, x.as<char>() + offset * bytes, y.as<char>(), bytes);
  dispatch_width(x.dtype, [&]<class T>() {
    const T* from = x.as<T>() + offset;
    if (const int near = transposed_axis(axes); near >= 0)
      return transpose(axes, near, from, y.as<T>());
    if (axes.stride[last] == 0 && axes.size[last] % Pack<T>::size == 0 && vectors(y.data))
      return repeat_rows(axes, from, y.as<T>());
    copy_units<T>(axes, from, y.data);
  });
}

void concat(const Views& xs, int64_t axis, View& y) {
  const int along = checked_concat(xs, axis, y);
  if (y.numel() == 0) return;
  const int64_t rows = y.shape.product(0, along), y_row = y.bytes() / rows;
  int64_t unit = widest_unit({address(y.data), y_row}), largest = 0;
  for (const View& x : xs) {
    if (x.bytes() == 0) continue;
    unit = widest_unit({unit, address(x.data), x.bytes() / rows});
    largest = std::max(largest, x.numel());
  }
  dispatch_unit(unit, [&]<class Unit>() {
    concat_units<Unit>(xs, rows, y_row / static_cast<int64_t>(sizeof(Unit)), largest, y);
  });
}

}  // namespace emulsion::cuda
