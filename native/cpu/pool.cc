// Channels in the vector lanes; one range of output rows per thread, forward and backward (which
// gathers from the windows that hold a pixel instead of scattering into it). Bound by memory.
#include "ops/pool.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 16384;

struct Span {
  int64_t begin, end;
};

// One axis of the windows.
struct Axis {
  int64_t in, out, kernel, stride, padding;

  // Input positions inside window o.
  Span window(int64_t o) const {
    const int64_t from = o * stride - padding, to = from + kernel;
    return {from > 0 ? from : 0, to < in ? to : in};
  }
  // Windows that hold input position i.
  Span windows(int64_t i) const {
    const int64_t last = (i + padding) / stride + 1, before = i + padding - kernel;
    const int64_t first = before < 0 ? 0 : before / stride + 1;
    return {first, last < out ? last : out};
  }
};

struct Window {
  int64_t N, C;
  Axis h, w;
};

Window window_of(const View& x, const View& y, const Shape& kernel, const Shape& stride,
                 const Shape& padding) {
  check_pool(x, y, kernel, stride, padding);
  const auto axis = [&](int i) {
    return Axis{x.dim(1 + i), y.dim(1 + i), kernel[i], stride[i], padding[i]};
  };
  return {x.dim(0), x.dim(3), axis(0), axis(1)};
}

// Calls body(n, row) for every image row, in parallel.
template <class Body>
void for_rows(int64_t N, int64_t rows, int64_t elements_per_row, Body&& body) {
  parallel_for(N * rows, 1 + grain_elements / (1 + elements_per_row),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) body(i / rows, i % rows);
               });
}

// to[c] = factor·Σ over rows h and columns w of from[h][w][c]: the mean forward, its adjoint
// backward.
template <class Stored>
void sum_box(const Stored* from, int64_t width, Span h, Span w, int64_t C, double factor,
             Stored* to) {
  using T = Accumulator<Stored>;
  using V = Vec<T>;
  for (int64_t c = 0; c < C; c += V::size) {
    const int64_t lanes = C - c < V::size ? C - c : V::size;
    V total = V::zero();
    for (int64_t y = h.begin; y < h.end; ++y)
      for (int64_t x = w.begin; x < w.end; ++x) {
        const Stored* at = from + (y * width + x) * C + c;
        total += lanes == V::size ? V::load(at) : V::load_partial(at, lanes);
      }
    total *= V(static_cast<T>(factor));
    if (lanes == V::size)
      total.store(to + c);
    else
      total.store_partial(to + c, lanes);
  }
}

template <class Stored>
void max_forward(const View& x, const Window& window, View& y, View& index) {
  using T = Accumulator<Stored>;
  const int64_t N = window.N, C = window.C;
  const Axis h = window.h, w = window.w;
  for_rows(N, h.out, w.out * C, [&](int64_t n, int64_t oh) {
    const Stored* from = x.as<Stored>() + n * h.in * w.in * C;
    const Span rows = h.window(oh);
    for (int64_t ow = 0; ow < w.out; ++ow) {
      const Span columns = w.window(ow);
      const int64_t at = ((n * h.out + oh) * w.out + ow) * C;
      Stored* best = y.as<Stored>() + at;
      int32_t* where = index.as<int32_t>() + at;
      const int64_t start = rows.begin * w.in + columns.begin;
      for (int64_t c = 0; c < C; ++c)
        best[c] = from[start * C + c], where[c] = static_cast<int32_t>(start);
      for (int64_t r = rows.begin; r < rows.end; ++r)
        for (int64_t s = columns.begin; s < columns.end; ++s) {
          const int64_t position = r * w.in + s;
          const Stored* candidate = from + position * C;
          for (int64_t c = 0; c < C; ++c) {
            const T value = convert<T>(candidate[c]), top = convert<T>(best[c]);
            const bool wins = value > top || (value != value && top == top);
            best[c] = wins ? candidate[c] : best[c];
            where[c] = wins ? static_cast<int32_t>(position) : where[c];
          }
        }
    }
  });
}

template <class Stored>
void max_backward(const View& dy, const View& index, const Window& window, View& dx) {
  using T = Accumulator<Stored>;
  const int64_t N = window.N, C = window.C;
  const Axis h = window.h, w = window.w;
  for_rows(N, h.in, w.in * C, [&](int64_t n, int64_t row) {
    T* total = scratch<T>(3, C);
    const Span windows_h = h.windows(row);
    for (int64_t column = 0; column < w.in; ++column) {
      const Span windows_w = w.windows(column);
      const int32_t position = static_cast<int32_t>(row * w.in + column);
      for (int64_t c = 0; c < C; ++c) total[c] = T(0);
      for (int64_t oh = windows_h.begin; oh < windows_h.end; ++oh)
        for (int64_t ow = windows_w.begin; ow < windows_w.end; ++ow) {
          const int64_t at = ((n * h.out + oh) * w.out + ow) * C;
          const int32_t* where = index.as<int32_t>() + at;
          const Stored* grad = dy.as<Stored>() + at;
          for (int64_t c = 0; c < C; ++c)
            total[c] += where[c] == position ? convert<T>(grad[c]) : T(0);
        }
      Stored* to = dx.as<Stored>() + ((n * h.in + row) * w.in + column) * C;
      for (int64_t c = 0; c < C; ++c) to[c] = convert<Stored>(total[c]);
    }
  });
}

}  // namespace

void avg_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                        const Shape& padding, View& y) {
  const Window window = window_of(x, y, kernel, stride, padding);
  const double factor = 1.0 / static_cast<double>(window.h.kernel * window.w.kernel);
  dispatch_floating(x.dtype, "avg_pool2d", [&]<class Stored>() {
    for_rows(window.N, window.h.out, window.w.out * window.C, [&](int64_t n, int64_t oh) {
      const Axis& across = window.w;
      const Stored* from = x.as<Stored>() + n * window.h.in * across.in * window.C;
      Stored* to = y.as<Stored>() + (n * window.h.out + oh) * across.out * window.C;
      for (int64_t ow = 0; ow < across.out; ++ow, to += window.C)
        sum_box(from, across.in, window.h.window(oh), across.window(ow), window.C, factor, to);
    });
  });
}

void avg_pool2d_backward(const View& dy, const Shape& kernel, const Shape& stride,
                         const Shape& padding, View& dx) {
  const Window window = window_of(dx, dy, kernel, stride, padding);
  const double factor = 1.0 / static_cast<double>(window.h.kernel * window.w.kernel);
  dispatch_floating(dy.dtype, "avg_pool2d", [&]<class Stored>() {
    for_rows(window.N, window.h.in, window.w.in * window.C, [&](int64_t n, int64_t row) {
      const Axis& across = window.w;
      const Stored* from = dy.as<Stored>() + n * window.h.out * across.out * window.C;
      Stored* to = dx.as<Stored>() + (n * window.h.in + row) * across.in * window.C;
      for (int64_t column = 0; column < across.in; ++column, to += window.C)
        sum_box(from, across.out, window.h.windows(row), across.windows(column), window.C, factor,
                to);
    });
  });
}

void max_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                        const Shape& padding, View& y, View& index) {
  const Window window = window_of(x, y, kernel, stride, padding);
  check_pool_index(index, y);
  dispatch_floating(x.dtype, "max_pool2d",
                    [&]<class Stored>() { max_forward<Stored>(x, window, y, index); });
}

void max_pool2d_backward(const View& dy, const View& index, const Shape& kernel,
                         const Shape& stride, const Shape& padding, View& dx) {
  const Window window = window_of(dx, dy, kernel, stride, padding);
  check_pool_index(index, dy);
  dispatch_floating(dy.dtype, "max_pool2d",
                    [&]<class Stored>() { max_backward<Stored>(dy, index, window, dx); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
