// Image resizing as a sparse matrix per axis. A row of it, the weights of an output, is a window of
// neighbouring sources. Kernels tabulate both axes in float64; out · taps numbers, so latency is
// the roof.
#pragma once

#include "cuda/device.cuh"
#include "cuda/host.h"
#include "ops/resize.h"

namespace emulsion::cuda {
namespace {

// One axis, as kernels know it.
struct Axis {
  int64_t in, out, most;  // at most so many taps
  double step;            // input pixels per output pixel
  float nearest_step;
  int mode;
  bool align_corners, antialias;
};

// Sources [begin, end) of an output; where the weights of the untransposed matrix lie.
struct Taps {
  const int *begin, *end;
  const int* origin;  // of the untransposed windows
  const float* weights;
  int64_t most;
  bool transposed;

  __device__ __forceinline__ float weight(int to, int from) const {
    return transposed ? weights[from * most + (to - origin[from])]
                      : weights[to * most + (from - origin[to])];
  }
};

__device__ __forceinline__ int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

__device__ __forceinline__ double cubic(double distance, double a) {
  const double x = distance < 0 ? -distance : distance;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

__device__ __forceinline__ double triangle(double distance) {
  const double x = distance < 0 ? -distance : distance;
  return x < 1 ? 1 - x : 0;
}

// Half of the antialiased kernel's width, in input pixels.
__host__ __device__ inline double support(double step, int mode) {
  const double radius = mode == ResizeMode::bicubic ? 2 : 1;
  return step >= 1 ? radius * step : radius;
}

int64_t most_taps(const Axis& axis) {
  switch (axis.mode) {
    case ResizeMode::nearest: return 1;
    case ResizeMode::area: return axis.in / axis.out + 2;
    default: break;
  }
  if (!axis.antialias) return axis.mode == ResizeMode::bicubic ? 4 : 2;
  const double most = 2 * support(axis.step, axis.mode) + 3;
  return most < static_cast<double>(axis.in) ? static_cast<int64_t>(most) : axis.in;
}

Axis axis_of(int64_t in, int64_t out, double scale, int64_t mode, bool align_corners,
             bool antialias) {
  EMULSION_CHECK(in <= INT32_MAX && out <= INT32_MAX, "resize: extents ", in, " and ", out,
                 " are too large");
  Axis axis{in, out, 0, 0, 0, static_cast<int>(mode), align_corners, antialias};
  if (align_corners)
    axis.step = out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
  else
    axis.step = scale > 0 ? 1 / scale : static_cast<double>(in) / static_cast<double>(out);
  axis.nearest_step =
      scale > 0 ? static_cast<float>(1 / scale) : static_cast<float>(in) / static_cast<float>(out);
  axis.most = most_taps(axis);
  return axis;
}

__device__ __forceinline__ double centre_of(const Axis& axis, int64_t i) {
  if (axis.antialias) return axis.step * (static_cast<double>(i) + 0.5);
  const double aligned = static_cast<double>(i) * axis.step;
  return axis.align_corners ? aligned : aligned + axis.step * 0.5 - 0.5;
}

// In float32, as the reference: the position of a product like 3·(1/3) depends on it.
__device__ __forceinline__ int64_t nearest_source(const Axis& axis, int64_t i) {
  const float at = __fmul_rn(static_cast<float>(i), axis.nearest_step);
  return clamp(static_cast<int64_t>(at), 0, axis.in - 1);
}

struct Window {
  int64_t begin, end;
};

__device__ inline Window window_of(const Axis& axis, int64_t i) {
  const int64_t in = axis.in;
  switch (axis.mode) {
    case ResizeMode::nearest: return {nearest_source(axis, i), nearest_source(axis, i) + 1};
    case ResizeMode::area: return {i * in / axis.out, ((i + 1) * in + axis.out - 1) / axis.out};
    default: break;
  }
  const double centre = centre_of(axis, i);
  if (axis.antialias) {
    const double reach = support(axis.step, axis.mode);
    const int64_t begin = clamp(static_cast<int64_t>(centre - reach + 0.5), 0, in);
    return {begin, clamp(static_cast<int64_t>(centre + reach + 0.5), begin, in)};
  }
  if (axis.mode == ResizeMode::bilinear) {
    const int64_t left = clamp(static_cast<int64_t>(centre < 0 ? 0 : centre), 0, in - 1);
    return {left, clamp(left + 1, 0, in - 1) + 1};
  }
  const auto left = static_cast<int64_t>(::floor(centre));
  return {clamp(left - 1, 0, in - 1), clamp(left + 2, 0, in - 1) + 1};
}

// The weights of output i; taps beyond the border count for the pixel there.
__device__ inline void write_weights(const Axis& axis, int64_t i, const Window& window,
                                     float* weights) {
  const auto count = static_cast<int>(window.end - window.begin);
  const double centre = centre_of(axis, i);
  if (axis.antialias) {
    const double shrink = axis.step >= 1 ? 1 / axis.step : 1;
    const auto tap = [&](int t) {
      const double distance = (static_cast<double>(window.begin + t) - centre + 0.5) * shrink;
      return axis.mode == ResizeMode::bicubic ? cubic(distance, -0.5) : triangle(distance);
    };
    double total = 0;
    for (int t = 0; t < count; ++t) total += tap(t);
    for (int t = 0; t < count; ++t)
      weights[t] = static_cast<float>(total != 0 ? tap(t) / total : tap(t));
  } else if (axis.mode == ResizeMode::bilinear) {
    const double offset = (centre < 0 ? 0 : centre) - static_cast<double>(window.begin);
    const double right = offset > 1 ? 1 : offset;
    weights[0] = count == 1 ? 1.0f : static_cast<float>(1 - right);
    if (count > 1) weights[1] = static_cast<float>(right);
  } else if (axis.mode == ResizeMode::bicubic) {
    const double left = ::floor(centre);
    for (int t = 0; t < count; ++t) {
      double total = 0;
      for (int k = -1; k < 3; ++k) {
        const double at = left + k;
        if (clamp(static_cast<int64_t>(at), 0, axis.in - 1) == window.begin + t)
          total += cubic(centre - at, -0.75);
      }
      weights[t] = static_cast<float>(total);
    }
  } else {
    for (int t = 0; t < count; ++t) weights[t] = static_cast<float>(1 / static_cast<double>(count));
  }
}

// Where an axis's table is written: windows [out], transposed windows [in], weights [out, most].
struct Table {
  int *begin, *end, *first, *last;
  float* weights;
};

__global__ void tabulate(Axis rows, Axis columns, Table row_table, Table column_table) {
  const Axis axis = blockIdx.y ? columns : rows;
  const Table table = blockIdx.y ? column_table : row_table;
  for (int64_t i = grid_thread(); i < axis.out; i += grid_threads()) {
    const Window window = window_of(axis, i);
    table.begin[i] = static_cast<int>(window.begin);
    table.end[i] = static_cast<int>(window.end);
    write_weights(axis, i, window, table.weights + i * axis.most);
  }
}

// How many of the ascending borders are at most s.
__device__ __forceinline__ int count_up_to(const int* borders, int64_t count, int64_t s) {
  int64_t low = 0;
  while (count > 0) {
    const int64_t half = count / 2;
    if (borders[low + half] <= s) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return static_cast<int>(low);
}

// Windows move one way only: the outputs that see a source are neighbours.
__global__ void transpose_windows(Axis rows, Axis columns, Table row_table, Table column_table) {
  const Axis axis = blockIdx.y ? columns : rows;
  const Table table = blockIdx.y ? column_table : row_table;
  for (int64_t s = grid_thread(); s < axis.in; s += grid_threads()) {
    table.first[s] = count_up_to(table.end, axis.out, s);
    table.last[s] = count_up_to(table.begin, axis.out, s);
  }
}

// Both axes' tables, for one operation.
class Tables {
 public:
  Tables(const Axis& rows, const Axis& columns, bool transposed)
      : memory_((size(rows, transposed) + size(columns, transposed)) *
                static_cast<int64_t>(sizeof(int))) {
    int* free = memory_.as<int>();
    const Table row_table = place(rows, transposed, free);
    const Table column_table = place(columns, transposed, free);
    Grid grid = stream_grid(std::max(rows.out, columns.out));
    grid.blocks.y = 2;
    launch("resize", tabulate, grid, rows, columns, row_table, column_table);
    if (transposed) {
      grid = stream_grid(std::max(rows.in, columns.in));
      grid.blocks.y = 2;
      launch("resize", transpose_windows, grid, rows, columns, row_table, column_table);
    }
    this->rows = taps(row_table, rows, transposed);
    this->columns = taps(column_table, columns, transposed);
  }

  Taps rows, columns;

 private:
  static int64_t size(const Axis& axis, bool transposed) {
    return axis.out * (2 + axis.most) + (transposed ? 2 * axis.in : 0);
  }
  static Table place(const Axis& axis, bool transposed, int*& free) {
    Table table{free, free + axis.out, nullptr, nullptr, nullptr};
    free += 2 * axis.out;
    table.weights = reinterpret_cast<float*>(free);
    free += axis.out * axis.most;
    if (!transposed) return table;
    table.first = free;
    table.last = free + axis.in;
    free += 2 * axis.in;
    return table;
  }
  static Taps taps(const Table& table, const Axis& axis, bool transposed) {
    return {transposed ? table.first : table.begin,
            transposed ? table.last : table.end,
            table.begin,
            table.weights,
            axis.most,
            transposed};
  }

  Workspace memory_;
};

}  // namespace
}  // namespace emulsion::cuda
