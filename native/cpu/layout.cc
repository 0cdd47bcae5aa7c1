// Data movement on the CPU. Neighbouring axes that are contiguous together are merged first, so most calls
// end as a few long memcpy runs. A permutation that moves the innermost axis becomes a transpose in tiles that
// fit the first-level cache, 8x8 elements in registers at a time (three rounds of interleaving).
#include "ops/layout.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 16384;

template <class Body>
EMULSION_INLINE void dispatch_width(DType dtype, Body&& body) {
  switch (dtype_size(dtype)) {
    case 1: return body.template operator()<uint8_t>();
    case 2: return body.template operator()<uint16_t>();
    case 4: return body.template operator()<uint32_t>();
    default: return body.template operator()<uint64_t>();
  }
}

EMULSION_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t rows_per_range(int64_t row_elements) {
  return row_elements >= grain_elements ? 1 : grain_elements / (row_elements + 1) + 1;
}

// ---- strided copy -------------------------------------------------------------------------------------------

// The axes of a strided read in the order of a dense result: size-one axes dropped, mergeable ones merged.
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
template <> struct Eight<uint8_t> { typedef uint8_t type __attribute__((vector_size(8))); };
template <> struct Eight<uint16_t> { typedef uint16_t type __attribute__((vector_size(16))); };
template <> struct Eight<uint32_t> { typedef uint32_t type __attribute__((vector_size(32))); };
template <> struct Eight<uint64_t> { typedef uint64_t type __attribute__((vector_size(64))); };

// y[b * y_pitch + a] = x[a * x_pitch + b] for a, b < 8. Interleaving row k with row k + 4 three times
// rotates the bits of the element number by three, which swaps the row and the column.
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
void transpose_tile(const T* x, int64_t x_pitch, int64_t rows, int64_t columns, T* y, int64_t y_pitch) {
  const int64_t whole_rows = rows & ~int64_t(7), whole_columns = columns & ~int64_t(7);
  for (int64_t j = 0; j < whole_columns; j += 8)
    for (int64_t i = 0; i < whole_rows; i += 8)
      transpose_8x8(x + i * x_pitch + j, x_pitch, y + j * y_pitch + i, y_pitch);
  for (int64_t j = 0; j < whole_columns; ++j)
    for (int64_t i = whole_rows; i < rows; ++i) y[j * y_pitch + i] = x[i * x_pitch + j];
  for (int64_t j = whole_columns; j < columns; ++j)
    for (int64_t i = 0; i < rows; ++i) y[j * y_pitch + i] = x[i * x_pitch + j];
}

// The last axis of y and the axis `near`, contiguous in x, change places; all others are looped over.
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
  parallel_for(tiles, grain_elements / (tile_rows * tile_columns) + 1, [&](int64_t begin, int64_t end) {
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
      transpose_tile(x + from, x_pitch, smaller(tile_rows, rows - i), smaller(tile_columns, columns - j), y + to,
                     y_stride[near]);
    }
  });
}

// Row by row along the last axis; a range may begin and end inside a row, so that one long row is shared too.
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

// ---- pad ----------------------------------------------------------------------------------------------------

enum PadMode { pad_constant = 0, pad_reflect = 1, pad_replicate = 2 };

// One axis of a pad: n elements become m, the first at position before.
struct PadAxis {
  int64_t n, m, before;

  // The element that place o of the padded axis shows, or -1 for the constant.
  EMULSION_INLINE int64_t source(int64_t o, int64_t mode) const {
    int64_t i = o - before;
    if (i >= 0 && i < n) return i;
    if (mode == pad_constant) return -1;
    if (mode == pad_replicate) return i < 0 ? 0 : n - 1;
    i = i < 0 ? -i : i;
    return i < n ? i : 2 * (n - 1) - i;
  }

  // All places that show element i: `count` of them, the k-th is place(i, k).
  EMULSION_INLINE int64_t count(int64_t i, int64_t mode) const {
    if (mode == pad_replicate) return 1 + (i == 0 ? before : 0) + (i == n - 1 ? m - n - before : 0);
    return 1 + reflected_before(i) + reflected_after(i);
  }
  EMULSION_INLINE int64_t place(int64_t i, int64_t k, int64_t mode) const {
    if (mode == pad_replicate) return (i == 0 ? 0 : before + i) + k;
    if (k == 0) return before + i;
    return k == 1 && reflected_before(i) ? before - i : before + 2 * (n - 1) - i;
  }

 private:
  EMULSION_INLINE bool reflected_before(int64_t i) const { return i >= 1 && i <= before; }
  EMULSION_INLINE bool reflected_after(int64_t i) const { return i < n - 1 && before + 2 * (n - 1) - i < m; }
};

// The padded axes; everything after the last of them is one contiguous unit.
struct PadPlan {
  int rank = 0;  // number of axes up to the last padded one
  PadAxis axis[Shape::max_rank];
  int64_t unit = 1;
};

PadPlan plan_pad(const Shape& x, const Shape& before, int64_t mode, const Shape& y, const char* op) {
  EMULSION_CHECK(mode >= pad_constant && mode <= pad_replicate, op, ": unknown mode ", mode);
  EMULSION_CHECK(x.rank() == y.rank() && before.rank() == x.rank(), op, ": x ", x, ", before ", before, " and y ", y,
                 " must have one rank");
  PadPlan plan;
  for (int k = 0; k < x.rank(); ++k) {
    const int64_t after = y[k] - x[k] - before[k];
    EMULSION_CHECK(before[k] >= 0 && after >= 0, op, ": negative pad on axis ", k);
    EMULSION_CHECK(mode != pad_reflect || (before[k] < x[k] && after < x[k]) || (before[k] == 0 && after == 0), op,
                   ": reflecting needs pads smaller than the extent ", x[k], " of axis ", k);
    EMULSION_CHECK(mode != pad_replicate || x[k] > 0 || y[k] == 0, op, ": nothing to replicate on axis ", k);
    plan.axis[k] = {x[k], y[k], before[k]};
    if (y[k] != x[k]) plan.rank = k + 1;
  }
  plan.unit = x.product(plan.rank, x.rank());
  return plan;
}

template <class T>
EMULSION_INLINE void fill(T* to, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

template <class T>
void pad_rows(const PadPlan& plan, int64_t mode, const T* x, T value, T* y) {
  const int last = plan.rank - 1;
  const PadAxis& along = plan.axis[last];
  const int64_t unit = plan.unit, y_row = along.m * unit, x_row = along.n * unit;
  int64_t rows = 1;
  for (int k = 0; k < last; ++k) rows *= plan.axis[k].m;
  parallel_for(rows, rows_per_range(y_row), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, from = 0, scale = 1;
      bool inside = true;
      for (int k = last - 1; k >= 0; --k) {
        const int64_t i = plan.axis[k].source(rest % plan.axis[k].m, mode);
        rest /= plan.axis[k].m;
        inside = inside && i >= 0;
        from += i * scale;
        scale *= plan.axis[k].n;
      }
      T* to = y + row * y_row;
      if (!inside) {
        fill(to, y_row, value);
        continue;
      }
      const T* source = x + from * x_row;
      const int64_t middle = along.before + along.n;
      std::memcpy(to + along.before * unit, source, static_cast<size_t>(x_row) * sizeof(T));
      if (mode == pad_constant) {
        fill(to, along.before * unit, value);
        fill(to + middle * unit, y_row - middle * unit, value);
        continue;
      }
      for (int64_t o = 0; o < along.before; ++o)
        std::memcpy(to + o * unit, source + along.source(o, mode) * unit, static_cast<size_t>(unit) * sizeof(T));
      for (int64_t o = middle; o < along.m; ++o)
        std::memcpy(to + o * unit, source + along.source(o, mode) * unit, static_cast<size_t>(unit) * sizeof(T));
    }
  });
}

// One element of the padded axes (a unit of dx) gathers all its places in dy, in row-major order of k.
template <class T>
void gather_pad_gradient(const PadPlan& plan, int64_t mode, const T* dy, T* dx) {
  using Acc = Accumulator<T>;
  const int64_t unit = plan.unit;
  int64_t elements = 1;
  for (int k = 0; k < plan.rank; ++k) elements *= plan.axis[k].n;
  parallel_for(elements, rows_per_range(unit), [&](int64_t begin, int64_t end) {
    Acc* total = scratch<Acc>(0, unit);
    for (int64_t element = begin; element < end; ++element) {
      int64_t at[Shape::max_rank], count[Shape::max_rank], k_of[Shape::max_rank] = {};
      int64_t rest = element, places = 1;
      for (int k = plan.rank - 1; k >= 0; --k) {
        at[k] = rest % plan.axis[k].n;
        rest /= plan.axis[k].n;
        count[k] = plan.axis[k].count(at[k], mode);
        places *= count[k];
      }
      for (int64_t place = 0; place < places; ++place) {
        int64_t from = 0;
        for (int k = 0; k < plan.rank; ++k)
          from = from * plan.axis[k].m + plan.axis[k].place(at[k], k_of[k], mode);
        const T* source = dy + from * unit;
        for (int64_t i = 0; i < unit; ++i)
          total[i] = place == 0 ? convert<Acc>(source[i]) : total[i] + convert<Acc>(source[i]);
        for (int k = plan.rank - 1; k >= 0; --k) {
          if (++k_of[k] < count[k]) break;
          k_of[k] = 0;
        }
      }
      for (int64_t i = 0; i < unit; ++i) dx[element * unit + i] = convert<T>(total[i]);
    }
  });
}

}  // namespace

void strided_copy(const View& x, const Shape& strides, int64_t offset, View& y) {
  EMULSION_CHECK(x.present && y.present, "strided_copy: x and y are required");
  EMULSION_CHECK(x.dtype == y.dtype, "strided_copy: x is ", dtype_name(x.dtype), ", y is ", dtype_name(y.dtype));
  EMULSION_CHECK(strides.rank() == y.rank(), "strided_copy: strides ", strides, " do not fit y ", y.shape);
  if (y.numel() == 0) return;
  // Products fit __int128 whatever JavaScript passed as strides.
  __int128 lowest = offset, highest = offset;
  Axes axes;
  for (int k = 0; k < y.rank(); ++k) {
    const __int128 reach = static_cast<__int128>(y.dim(k) - 1) * strides[k];
    (reach < 0 ? lowest : highest) += reach;
  }
  EMULSION_CHECK(lowest >= 0 && highest < x.numel(), "strided_copy: strides ", strides, " and offset ", offset,
                 " lead outside x of shape ", x.shape);
  for (int k = 0; k < y.rank(); ++k) axes.add(y.dim(k), strides[k]);
  dispatch_width(x.dtype, [&]<class T>() { copy_strided(axes, x.as<T>() + offset, y.as<T>()); });
}

void concat(const Views& xs, int64_t axis, View& y) {
  EMULSION_CHECK(y.present && axis >= 0 && axis < y.rank(), "concat: axis ", axis, " is not an axis of ", y.shape);
  int64_t extent = 0;
  for (const View& x : xs) {
    EMULSION_CHECK(x.present && x.dtype == y.dtype && x.rank() == y.rank(), "concat: inputs must match y in dtype and rank");
    for (int k = 0; k < y.rank(); ++k)
      EMULSION_CHECK(k == axis || x.dim(k) == y.dim(k), "concat: ", x.shape, " does not fit into ", y.shape);
    extent += x.dim(static_cast<int>(axis));
  }
  EMULSION_CHECK(extent == y.dim(static_cast<int>(axis)), "concat: extents add up to ", extent, ", y is ", y.shape);
  const int64_t rows = y.shape.product(0, static_cast<int>(axis));
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

void pad_forward(const View& x, const Shape& before, int64_t mode, double value, View& y) {
  EMULSION_CHECK(x.present && y.present, "pad_forward: x and y are required");
  EMULSION_CHECK(x.dtype == y.dtype, "pad_forward: x is ", dtype_name(x.dtype), ", y is ", dtype_name(y.dtype));
  const PadPlan plan = plan_pad(x.shape, before, mode, y.shape, "pad_forward");
  if (y.numel() == 0) return;
  if (plan.rank == 0) {
    std::memcpy(y.data, x.data, static_cast<size_t>(x.bytes()));
    return;
  }
  uint64_t pattern = 0;
  dispatch_all(x.dtype, [&]<class T>() {
    const T stored = convert<T>(value);
    std::memcpy(&pattern, &stored, sizeof(T));
  });
  dispatch_width(x.dtype, [&]<class T>() {
    pad_rows(plan, mode, x.as<T>(), static_cast<T>(pattern), y.as<T>());
  });
}

void pad_backward(const View& dy, const Shape& before, int64_t mode, View& dx) {
  EMULSION_CHECK(dy.present && dx.present, "pad_backward: dy and dx are required");
  EMULSION_CHECK(dx.dtype == dy.dtype, "pad_backward: dy is ", dtype_name(dy.dtype), ", dx is ", dtype_name(dx.dtype));
  EMULSION_CHECK(mode != pad_constant, "pad_backward: the gradient of a constant pad is a slice");
  const PadPlan plan = plan_pad(dx.shape, before, mode, dy.shape, "pad_backward");
  if (dx.numel() == 0) return;
  dispatch_floating(dx.dtype, "pad_backward",
                    [&]<class T>() { gather_pad_gradient(plan, mode, dy.as<T>(), dx.as<T>()); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
