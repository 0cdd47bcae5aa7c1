// Data movement on the CPU. Neighbouring axes that are contiguous together are merged first, so
// most calls end as a few long memcpy runs. A permutation that moves the innermost axis becomes a
// transpose in tiles that fit the first-level cache, 8x8 elements in registers at a time (three
// rounds of interleaving).
#include "ops/layout.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/width.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 16384;

EMULSION_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The axes of a strided read in the order of a dense result: size-one axes dropped, mergeable ones
// merged.
struct Axes {
  int rank = 0;
  int64_t size[Shape::max_rank];
  int64_t stride[Shape::max_rank];

  void add(int64_t extent, int64_t step) {
    if (extent == 1) return;
    if (rank > 0 && stride[rank - 1] == step * extent) {
      size[rank - 1] *= extent;
      stride[rank - 1] = step;
      return;
    }
    size[rank] = extent;
    stride[rank++] = step;
  }
};

// Where in x the row-major multi-index over the first `rank` axes points.
struct Cursor {
  int rank;
  const int64_t* size;
  const int64_t* stride;
  int64_t at[Shape::max_rank];
  int64_t offset = 0;

  Cursor(const int64_t* sizes, const int64_t* strides, int count, int64_t flat)
      : rank(count), size(sizes), stride(strides) {
    for (int k = rank - 1; k >= 0; --k) {
      at[k] = flat % size[k];
      flat /= size[k];
      offset += at[k] * stride[k];
    }
  }

  EMULSION_INLINE void next() {
    for (int k = rank - 1; k >= 0; --k) {
      offset += stride[k];
      if (++at[k] < size[k]) return;
      offset -= size[k] * stride[k];
      at[k] = 0;
    }
  }
};

template <class T>
struct Eight;
template <>
struct Eight<uint8_t> {
  typedef uint8_t type __attribute__((vector_size(8)));
};
template <>
struct Eight<uint16_t> {
  typedef uint16_t type __attribute__((vector_size(16)));
};
template <>
struct Eight<uint32_t> {
  typedef uint32_t type __attribute__((vector_size(32)));
};
template <>
struct Eight<uint64_t> {
  typedef uint64_t type __attribute__((vector_size(64)));
};

// y[b * y_pitch + a] = x[a * x_pitch + b] for a, b < 8. Interleaving row k with row k + 4 three
// times rotates the bits of the element number by three, which swaps the row and the column.
template <class T>
EMULSION_INLINE void transpose_8x8(const T* x, int64_t x_pitch, T* y, int64_t y_pitch) {
  using V = typename Eight<T>::type;
  V rows[8], mixed[8];
  for (int a = 0; a < 8; ++a) std::memcpy(&rows[a], x + a * x_pitch, sizeof(V));
#pragma GCC unroll 3
  for (int round = 0; round < 3; ++round) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      mixed[2 * k] = __builtin_shufflevector(rows[k], rows[k + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      mixed[2 * k + 1] = __builtin_shufflevector(rows[k], rows[k + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
#pragma GCC unroll 8
    for (int a = 0; a < 8; ++a) rows[a] = mixed[a];
  }
  for (int b = 0; b < 8; ++b) std::memcpy(y + b * y_pitch, &rows[b], sizeof(V));
}

// y[j * y_pitch + i] = x[i * x_pitch + j] for i < rows, j < columns.
template <class T>
void transpose_tile(const T* x, int64_t x_pitch, int64_t rows, int64_t columns, T* y,
                    int64_t y_pitch) {
  const int64_t whole_rows = rows & ~int64_t(7), whole_columns = columns & ~int64_t(7);
  // The side with the longer pitch is walked along its rows: its lines, often all of one cache set,
  // are then finished before they are evicted, while the other side of the tile stays in the cache.
  const auto block = [&](int64_t i, int64_t j) {
    transpose_8x8(x + i * x_pitch + j, x_pitch, y + j * y_pitch + i, y_pitch);
  };
  if (x_pitch > y_pitch) {
    for (int64_t i = 0; i < whole_rows; i += 8)
      for (int64_t j = 0; j < whole_columns; j += 8) block(i, j);
  } else {
    for (int64_t j = 0; j < whole_columns; j += 8)
      for (int64_t i = 0; i < whole_rows; i += 8) block(i, j);
  }
  for (int64_t j = 0; j < whole_columns; ++j)
    for (int64_t i = whole_rows; i < rows; ++i) y[j * y_pitch + i] = x[i * x_pitch + j];
  for (int64_t j = whole_columns; j < columns; ++j)
    for (int64_t i = 0; i < rows; ++i) y[j * y_pitch + i] = x[i * x_pitch + j];
}

// The last axis of y and the axis `near`, contiguous in x, change places; all others are looped
// over.
template <class T>
void copy_transposed(const Axes& axes, int near, const T* x, T* y) {
  const int last = axes.rank - 1;
  const int64_t rows = axes.size[last], x_pitch = axes.stride[last], columns = axes.size[near];
  int64_t y_stride[Shape::max_rank];
  int64_t dense = 1;
  for (int k = last; k >= 0; --k) {
    y_stride[k] = dense;
    dense *= axes.size[k];
  }
  const int64_t tile_rows = smaller(rows, 64);
  const int64_t tile_columns = smaller(columns, smaller(1024, 4096 / tile_rows));
  const int64_t row_tiles = (rows + tile_rows - 1) / tile_rows;
  const int64_t column_tiles = (columns + tile_columns - 1) / tile_columns;
  const int64_t tiles = dense / (rows * columns) * column_tiles * row_tiles;
  parallel_for(tiles, grain_elements / (tile_rows * tile_columns) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t tile = begin; tile < end; ++tile) {
                   const int64_t i = tile % row_tiles * tile_rows;
                   const int64_t j = tile / row_tiles % column_tiles * tile_columns;
                   int64_t rest = tile / (row_tiles * column_tiles);
                   int64_t from = i * x_pitch + j, to = i + j * y_stride[near];
                   for (int k = last - 1; k >= 0; --k) {
                     if (k == near) continue;
                     const int64_t at = rest % axes.size[k];
                     rest /= axes.size[k];
                     from += at * axes.stride[k];
                     to += at * y_stride[k];
                   }
                   transpose_tile(x + from, x_pitch, smaller(tile_rows, rows - i),
                                  smaller(tile_columns, columns - j), y + to, y_stride[near]);
                 }
               });
}

// Row by row along the last axis; a range may begin and end inside a row, so that one long row is
// shared too.
template <class T>
void copy_rows(const Axes& axes, const T* x, T* y) {
  const int last = axes.rank - 1;
  const int64_t length = axes.size[last], step = axes.stride[last];
  int64_t total = length;
  for (int k = 0; k < last; ++k) total *= axes.size[k];
  parallel_for(total, grain_elements, [&](int64_t begin, int64_t end) {
    Cursor cursor(axes.size, axes.stride, last, begin / length);
    int64_t first = begin % length;
    for (int64_t done = begin; done < end; cursor.next()) {
      const int64_t count = smaller(length - first, end - done);
      const T* from = x + cursor.offset + first * step;
      if (step == 1) {
        std::memcpy(y + done, from, static_cast<size_t>(count) * sizeof(T));
      } else if (step == 0) {
        const T value = *from;
        for (int64_t i = 0; i < count; ++i) y[done + i] = value;
      } else {
        for (int64_t i = 0; i < count; ++i) y[done + i] = from[i * step];
      }
      done += count;
      first = 0;
    }
  });
}

template <class T>
void copy_strided(const Axes& axes, const T* x, T* y) {
  if (axes.rank == 0) {
    *y = *x;
    return;
  }
  const int last = axes.rank - 1;
  if (axes.stride[last] > 1)
    for (int k = last - 1; k >= 0; --k)
      if (axes.stride[k] == 1) return copy_transposed(axes, k, x, y);
  copy_rows(axes, x, y);
}

}  // namespace

void strided_copy(const View& x, const Shape& strides, int64_t offset, View& y) {
  check_strided_copy(x, strides, offset, y);
  if (y.numel() == 0) return;
  Axes axes;
  for (int k = 0; k < y.rank(); ++k) axes.add(y.dim(k), strides[k]);
  dispatch_width(x.dtype, [&]<class T>() { copy_strided(axes, x.as<T>() + offset, y.as<T>()); });
}

void concat(const Views& xs, int64_t axis, View& y) {
  const int along = checked_concat(xs, axis, y);
  const int64_t rows = y.shape.product(0, along);
  if (y.numel() == 0) return;
  const int64_t y_row = y.bytes() / rows;
  char* to = y.as<char>();
  for (const View& x : xs) {
    const int64_t x_row = x.bytes() / rows;
    if (x_row == 0) continue;
    const char* from = x.as<char>();
    parallel_for(rows * x_row, 4 * grain_elements, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin / x_row, first = begin % x_row; begin < end; ++row, first = 0) {
        const int64_t count = smaller(x_row - first, end - begin);
        std::memcpy(to + row * y_row + first, from + begin, static_cast<size_t>(count));
        begin += count;
      }
    });
    to += x_row;
  }
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
