// Image resizing. Every mode is a sparse matrix per axis, tabulated first (resize_taps.cuh).
//
//   nearest            units of up to 16 bytes are copied; where pixels double (any power of two),
//                      each is read once and written to all its places
//   bilinear, area,    a thread makes 16 bytes of channels from all taps of both axes, which are
//   nearest backward   few or read by no other thread
//   bicubic,           rows first, into a float32 image [N, OH, W, C], then columns: as many reads
//   antialiased        per element as the sum of the taps of both axes, not their product
//
// Backward runs the same kernels with the transposed windows: each dx gathers in the order of the
// outputs. Bandwidth is the roof.
#include "ops/resize.h"

#include "cuda/resize_taps.cuh"
#include "cuda/walk.cuh"

namespace emulsion::cuda {
namespace {

// units: of a pixel. Positions in the order of y: unit, column, row (the image above).
template <class Unit, bool wide>
__global__ void copy_nearest(const Unit* x, Unit* y, int64_t count, Axis h, Axis w, int64_t units,
                             Extent<wide> by_units, Extent<wide> by_columns, Extent<wide> by_rows) {
  stream(
      count,
      [&](int64_t i) {
        Index<wide> unit, column, row;
        Index<wide> rest = by_units(static_cast<Index<wide>>(i), unit);
        rest = by_columns(rest, column);
        const int64_t image = by_rows(rest, row);
        const int64_t from_row = image * h.in + nearest_source(h, row);
        return x[(from_row * w.in + nearest_source(w, column)) * units + unit];
      },
      [&](int64_t i, Unit value) { y[i] = value; });
}

// y = every pixel of x repeated times_h · times_w.
template <class Unit, bool wide>
__global__ void repeat_pixels(const Unit* x, Unit* y, int64_t count, int times_h, int times_w,
                              int64_t units, int64_t width, Extent<wide> by_units,
                              Extent<wide> by_columns) {
  const int64_t line = width * times_w * units;
  stream(
      count, [&](int64_t i) { return x[i]; },
      [&](int64_t i, Unit value) {
        Index<wide> unit, column;
        const Index<wide> pixel = by_units(static_cast<Index<wide>>(i), unit);
        const int64_t row = by_columns(pixel, column);
        Unit* to = y + row * times_h * line + column * times_w * units + unit;
        for (int a = 0; a < times_h; ++a)
          for (int b = 0; b < times_w; ++b) to[a * line + b * units] = value;
      });
}

template <class From, class To, int width>
struct Sum {
  float values[width] = {};

  __device__ __forceinline__ void add(float weight, const From* from) {
    const Pack<From, width> pack = load_pack<From, width>(from);
#pragma unroll
    for (int e = 0; e < width; ++e) values[e] = fmaf(weight, widen(pack.values[e]), values[e]);
  }
  __device__ __forceinline__ void store(To* to) const {
    Pack<To, width> pack;
#pragma unroll
    for (int e = 0; e < width; ++e) pack.values[e] = narrow<To>(values[e]);
    store_pack(to, pack);
  }
};

// y [N, height, width, C], by all taps of both axes. x has x_rows · x_columns pixels.
template <class T, int width, bool wide>
__global__ void combine_pixels(const T* x, T* y, int64_t count, Taps rows, Taps columns,
                               int64_t x_rows, int64_t x_columns, int64_t C, Extent<wide> by_packs,
                               Extent<wide> by_columns, Extent<wide> by_rows) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    Index<wide> pack, at_column, at_row;
    Index<wide> rest = by_packs(static_cast<Index<wide>>(i), pack);
    rest = by_columns(rest, at_column);
    const int64_t image = by_rows(rest, at_row);
    const int row = static_cast<int>(at_row), column = static_cast<int>(at_column);
    const int begin = columns.begin[column], end = columns.end[column];
    Sum<T, T, width> total;
    for (int h = rows.begin[row]; h < rows.end[row]; ++h) {
      const float scale = rows.weight(row, h);
      const T* line = x + (image * x_rows + h) * x_columns * C + pack * width;
#pragma unroll 2
      for (int w = begin; w < end; ++w) total.add(scale * columns.weight(column, w), line + w * C);
    }
    total.store(y + i * width);
  }
}

// One axis: y [.., extent, inner] from x [.., x_extent, inner], in packs.
template <class From, class To, int width, bool wide>
__global__ void combine_axis(const From* x, To* y, int64_t count, Taps taps, int64_t x_extent,
                             int64_t inner, Extent<wide> by_inner, Extent<wide> by_extent) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    Index<wide> column, at_row;
    const Index<wide> rest = by_inner(static_cast<Index<wide>>(i), column);
    const int64_t outer = by_extent(rest, at_row);
    const int row = static_cast<int>(at_row);
    const From* from = x + (outer * x_extent * inner + column) * width;
    Sum<From, To, width> total;
#pragma unroll 4
    for (int s = taps.begin[row]; s < taps.end[row]; ++s)
      total.add(taps.weight(row, s), from + s * inner * width);
    total.store(y + i * width);
  }
}

// ---- launches

template <class From, class To>
void apply_axis(const From* x, To* y, const Taps& taps, int64_t outer, int64_t x_extent,
                int64_t extent, int64_t inner) {
  const auto run = [&]<int width, bool wide>() {
    const int64_t packs = inner / width, count = outer * extent * packs;
    launch("resize", combine_axis<From, To, width, wide>, stream_grid(count), x, y, count, taps,
           x_extent, packs, Extent<wide>(packs), Extent<wide>(extent));
  };
  if (is_wide(outer * extent * inner)) return run.template operator()<1, true>();
  if (inner % 4 == 0 && vectors(x, y)) return run.template operator()<4, false>();
  run.template operator()<1, false>();
}

template <class T>
void apply_both(const View& x, const Tables& tables, View& y) {
  constexpr int most = 16 / sizeof(T);
  const auto run = [&]<int width, bool wide>() {
    const int64_t count = y.numel() / width;
    launch("resize", combine_pixels<T, width, wide>, stream_grid(count), x.as<T>(), y.as<T>(),
           count, tables.rows, tables.columns, x.dim(1), x.dim(2), x.dim(3),
           Extent<wide>(x.dim(3) / width), Extent<wide>(y.dim(2)), Extent<wide>(y.dim(1)));
  };
  if (is_wide(y.numel())) return run.template operator()<1, true>();
  if (x.dim(3) % most == 0 && vectors(x.data, y.data))
    return run.template operator()<most, false>();
  run.template operator()<1, false>();
}

void apply(const View& x, const Axis& rows, const Axis& columns, bool transposed, View& y) {
  if (y.numel() == 0) return;
  const Tables tables(rows, columns, transposed);
  const int64_t N = x.dim(0), C = x.dim(3), height = y.dim(1), width = x.dim(2);
  dispatch_float(x.dtype, "resize", [&]<class T>() {
    if (rows.mode != ResizeMode::bicubic && !rows.antialias) return apply_both<T>(x, tables, y);
    const Workspace lines(N * height * width * C * static_cast<int64_t>(sizeof(float)));
    auto* between = lines.as<float>();
    apply_axis(x.as<T>(), between, tables.rows, N, x.dim(1), height, width * C);
    apply_axis(static_cast<const float*>(between), y.as<T>(), tables.columns, N * height, width,
               y.dim(2), C);
  });
}

// How often each pixel is repeated along an axis, if that is a power of two (its reciprocal is then
// exact, and so are the positions); else 0.
int repeats(const Axis& axis) {
  const int64_t times = axis.out / axis.in;
  const bool exact = times > 0 && (times & (times - 1)) == 0 && times * axis.in == axis.out;
  return exact && axis.out < (1 << 24) && axis.nearest_step * static_cast<float>(times) == 1.0f
             ? static_cast<int>(times)
             : 0;
}

void resize_nearest(const View& x, const Axis& rows, const Axis& columns, View& y) {
  if (y.numel() == 0) return;
  const int64_t pixel = x.dim(3) * dtype_size(x.dtype);
  const int64_t unit = widest_unit({address(x.data), address(y.data), pixel}), units = pixel / unit;
  const int times_h = repeats(rows), times_w = repeats(columns);
  dispatch_unit(unit, [&]<class Unit>() {
    dispatch_wide(y.numel(), [&]<bool wide>() {
      const Extent<wide> by_units(units);
      if (times_h && times_w) {
        const int64_t count = x.bytes() / unit;
        launch("resize", repeat_pixels<Unit, wide>, batched_grid(count), x.as<Unit>(), y.as<Unit>(),
               count, times_h, times_w, units, columns.in, by_units, Extent<wide>(columns.in));
      } else {
        const int64_t count = y.bytes() / unit;
        launch("resize", copy_nearest<Unit, wide>, batched_grid(count), x.as<Unit>(), y.as<Unit>(),
               count, rows, columns, units, by_units, Extent<wide>(columns.out),
               Extent<wide>(rows.out));
      }
    });
  });
}

}  // namespace

void resize_forward(const View& x, int64_t mode, bool align_corners, bool antialias, double scale_h,
                    double scale_w, View& y) {
  check_resize(x, y, mode, align_corners, antialias, scale_h, scale_w);
  const Axis rows = axis_of(x.dim(1), y.dim(1), scale_h, mode, align_corners, antialias);
  const Axis columns = axis_of(x.dim(2), y.dim(2), scale_w, mode, align_corners, antialias);
  if (mode == ResizeMode::nearest) return resize_nearest(x, rows, columns, y);
  apply(x, rows, columns, false, y);
}

void resize_backward(const View& dy, int64_t mode, bool align_corners, bool antialias,
                     double scale_h, double scale_w, View& dx) {
  check_resize(dx, dy, mode, align_corners, antialias, scale_h, scale_w);
  const Axis rows = axis_of(dx.dim(1), dy.dim(1), scale_h, mode, align_corners, antialias);
  const Axis columns = axis_of(dx.dim(2), dy.dim(2), scale_w, mode, align_corners, antialias);
  apply(dy, rows, columns, true, dx);
}

}  // namespace emulsion::cuda
