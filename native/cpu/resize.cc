// Every mode is a sparse matrix per axis, kept as taps (source, weight) per output position; one
// loop serves all of them, and the backward pass runs it with both matrices transposed. An output
// row is made in two steps: its source rows are combined, vectorised over W·C, then its pixels from
// that row, vectorised over C. Nearest copies pixels, and whole rows that repeat. Bound by memory.
#include "ops/resize.h"

#include <cmath>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 16384;

struct Options {
  int64_t mode;
  bool align_corners, antialias;
};

struct Tap {
  int64_t source;
  double weight;
};

// One axis as a sparse [out, in] matrix: the taps of output i are taps[first[i] .. first[i + 1]).
struct Taps {
  int64_t in, out;
  int64_t* first;
  Tap* taps;
};

int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

double cubic(double distance, double a) {
  const double x = std::fabs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

double triangle(double distance) {
  const double x = std::fabs(distance);
  return x < 1 ? 1 - x : 0;
}

// Input pixels per output pixel, which places the output's centres.
double pixel_step(int64_t in, int64_t out, double scale, bool align_corners) {
  if (align_corners)
    return out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
  return scale > 0 ? 1 / scale : static_cast<double>(in) / static_cast<double>(out);
}

// Each function writes the taps of output i and returns their number.

int64_t nearest_taps(int64_t i, int64_t in, int64_t out, double scale, Tap* taps) {
  // In float32, as the reference: the position that a product like 3·(1/3) falls on depends on it.
  const float step =
      scale > 0 ? static_cast<float>(1 / scale) : static_cast<float>(in) / static_cast<float>(out);
  taps[0] = {clamp(static_cast<int64_t>(static_cast<float>(i) * step), 0, in - 1), 1};
  return 1;
}

int64_t area_taps(int64_t i, int64_t in, int64_t out, Tap* taps) {
  const int64_t begin = i * in / out, end = ((i + 1) * in + out - 1) / out;
  for (int64_t s = begin; s < end; ++s) taps[s - begin] = {s, 1 / static_cast<double>(end - begin)};
  return end - begin;
}

int64_t linear_taps(double centre, int64_t in, Tap* taps) {
  if (centre < 0) centre = 0;
  const int64_t left = clamp(static_cast<int64_t>(centre), 0, in - 1);
  double right_weight = centre - static_cast<double>(left);
  if (right_weight > 1) right_weight = 1;
  taps[0] = {left, 1 - right_weight};
  taps[1] = {clamp(left + 1, 0, in - 1), right_weight};
  return 2;
}

int64_t cubic_taps(double centre, int64_t in, Tap* taps) {
  const double left = std::floor(centre);
  for (int64_t t = 0; t < 4; ++t) {
    const double at = left - 1 + static_cast<double>(t);
    taps[t] = {clamp(static_cast<int64_t>(at), 0, in - 1), cubic(centre - at, -0.75)};
  }
  return 4;
}

// Half of the antialiased kernel's width, in input pixels.
double support(double step, int64_t mode) {
  const double radius = mode == ResizeMode::bicubic ? 2 : 1;
  return step >= 1 ? radius * step : radius;
}

int64_t antialiased_taps(int64_t i, int64_t in, double step, int64_t mode, Tap* taps) {
  const double centre = step * (static_cast<double>(i) + 0.5), reach = support(step, mode);
  const double shrink = step >= 1 ? 1 / step : 1;
  const int64_t begin = clamp(static_cast<int64_t>(centre - reach + 0.5), 0, in);
  const int64_t end = clamp(static_cast<int64_t>(centre + reach + 0.5), begin, in);
  double total = 0;
  for (int64_t s = begin; s < end; ++s) {
    const double distance = (static_cast<double>(s) - centre + 0.5) * shrink;
    const double weight = mode == ResizeMode::bicubic ? cubic(distance, -0.5) : triangle(distance);
    taps[s - begin] = {s, weight};
    total += weight;
  }
  for (int64_t t = 0; t < end - begin; ++t)
    if (total != 0) taps[t].weight /= total;
  return end - begin;
}

int64_t most_taps(int64_t in, int64_t out, double step, const Options& options) {
  switch (options.mode) {
    case ResizeMode::nearest: return 1;
    case ResizeMode::area: return in / out + 2;
    default: break;
  }
  if (!options.antialias) return options.mode == ResizeMode::bicubic ? 4 : 2;
  const double most = 2 * support(step, options.mode) + 2;
  return most < static_cast<double>(in) ? static_cast<int64_t>(most) : in;
}

Taps make_taps(int64_t in, int64_t out, double scale, const Options& options, int slot) {
  const double step = pixel_step(in, out, scale, options.align_corners);
  const int64_t most = most_taps(in, out, step, options);
  int64_t* first = scratch<int64_t>(slot, out + 1 + 2 * out * most);
  static_assert(sizeof(Tap) == 2 * sizeof(int64_t));
  Taps axis{in, out, first, reinterpret_cast<Tap*>(first + out + 1)};
  first[0] = 0;
  for (int64_t i = 0; i < out; ++i) {
    Tap* taps = axis.taps + first[i];
    const double aligned = static_cast<double>(i) * step;
    const double centre = options.align_corners ? aligned : aligned + step * 0.5 - 0.5;
    int64_t count = 0;
    if (options.mode == ResizeMode::nearest)
      count = nearest_taps(i, in, out, scale, taps);
    else if (options.mode == ResizeMode::area)
      count = area_taps(i, in, out, taps);
    else if (options.antialias)
      count = antialiased_taps(i, in, step, options.mode, taps);
    else
      count = options.mode == ResizeMode::bicubic ? cubic_taps(centre, in, taps)
                                                  : linear_taps(centre, in, taps);
    first[i + 1] = first[i] + count;
  }
  return axis;
}

// The transposed matrix, its taps in the order of the outputs they come from.
Taps transpose(const Taps& axis, int slot) {
  const int64_t count = axis.first[axis.out];
  int64_t* first = scratch<int64_t>(slot, axis.in + 1 + 2 * count);
  Taps result{axis.out, axis.in, first, reinterpret_cast<Tap*>(first + axis.in + 1)};
  for (int64_t s = 0; s <= axis.in; ++s) first[s] = 0;
  for (int64_t t = 0; t < count; ++t) ++first[axis.taps[t].source];
  for (int64_t s = 0, end = 0; s <= axis.in; ++s) first[s] = end += first[s];
  for (int64_t i = axis.out - 1; i >= 0; --i)
    for (int64_t t = axis.first[i + 1] - 1; t >= axis.first[i]; --t)
      result.taps[--first[axis.taps[t].source]] = {i, axis.taps[t].weight};
  return result;
}

// to[i] = Σ taps weight·from[source·stride + i] for i below count.
template <class From, class To>
EMULSION_INLINE void combine(const Tap* tap, const Tap* end, const From* from, int64_t stride,
                             int64_t count, To* to) {
  using T = Accumulator<From>;
  using V = Vec<T>;
  int64_t i = 0;
  for (; i + V::size <= count; i += V::size) {
    V total = V::zero();
    for (const Tap* t = tap; t < end; ++t)
      total = fma(V(static_cast<T>(t->weight)), V::load(from + t->source * stride + i), total);
    total.store(to + i);
  }
  for (; i < count; ++i) {
    T total = 0;
    for (const Tap* t = tap; t < end; ++t)
      total += static_cast<T>(t->weight) * convert<T>(from[t->source * stride + i]);
    to[i] = convert<To>(total);
  }
}

template <class Stored>
void apply(const View& x, const Taps& rows, const Taps& columns, View& y) {
  using T = Accumulator<Stored>;
  const int64_t C = x.dim(3), width_in = columns.in * C, width_out = columns.out * C;
  const int64_t work = 1 + width_in + width_out;
  parallel_for(x.dim(0) * rows.out, 1 + grain_elements / work, [&](int64_t begin, int64_t end) {
    T* line = scratch<T>(7, width_in);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / rows.out, row = i % rows.out;
      combine(rows.taps + rows.first[row], rows.taps + rows.first[row + 1],
              x.as<Stored>() + n * rows.in * width_in, width_in, width_in, line);
      for (int64_t j = 0; j < columns.out; ++j)
        combine(columns.taps + columns.first[j], columns.taps + columns.first[j + 1], line, C, C,
                y.as<Stored>() + i * width_out + j * C);
    }
  });
}

void copy_nearest(const View& x, const Taps& rows, const Taps& columns, View& y) {
  const int64_t pixel = x.dim(3) * dtype_size(x.dtype);
  const int64_t line_in = columns.in * pixel, line_out = columns.out * pixel;
  parallel_for(x.dim(0) * rows.out, 1 + grain_elements * 4 / (1 + line_out),
               [&](int64_t begin, int64_t end) {
                 int64_t previous = -1;
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t source = i / rows.out * rows.in + rows.taps[i % rows.out].source;
                   char* to = y.as<char>() + i * line_out;
                   const char* from = x.as<char>() + source * line_in;
                   if (source == previous)
                     std::memcpy(to, to - line_out, static_cast<size_t>(line_out));
                   else
                     for (int64_t j = 0; j < columns.out; ++j)
                       std::memcpy(to + j * pixel, from + columns.taps[j].source * pixel,
                                   static_cast<size_t>(pixel));
                   previous = source;
                 }
               });
}

}  // namespace

void resize_forward(const View& x, int64_t mode, bool align_corners, bool antialias, double scale_h,
                    double scale_w, View& y) {
  check_resize(x, y, mode, align_corners, antialias, scale_h, scale_w);
  const Options options{mode, align_corners, antialias};
  const Taps rows = make_taps(x.dim(1), y.dim(1), scale_h, options, 3);
  const Taps columns = make_taps(x.dim(2), y.dim(2), scale_w, options, 4);
  if (mode == ResizeMode::nearest) return copy_nearest(x, rows, columns, y);
  dispatch_floating(x.dtype, "resize", [&]<class Stored>() { apply<Stored>(x, rows, columns, y); });
}

void resize_backward(const View& dy, int64_t mode, bool align_corners, bool antialias,
                     double scale_h, double scale_w, View& dx) {
  check_resize(dx, dy, mode, align_corners, antialias, scale_h, scale_w);
  const Options options{mode, align_corners, antialias};
  const Taps rows = transpose(make_taps(dx.dim(1), dy.dim(1), scale_h, options, 3), 5);
  const Taps columns = transpose(make_taps(dx.dim(2), dy.dim(2), scale_w, options, 4), 6);
  dispatch_floating(dy.dtype, "resize",
                    [&]<class Stored>() { apply<Stored>(dy, rows, columns, dx); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
