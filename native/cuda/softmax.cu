// Softmax and log-softmax along one axis. A tensor is [outer, n, inner] around its axis.
//
// Bandwidth is the roof. Along the last axis a row stays in registers between its maximum, its sum
// and the result (row_tile.cuh): one read, one write. Longer rows, and any other axis, take the
// maximum and the sum in one read, online, and read a second time, mostly from the L2 cache, to
// write. Along an inner axis a thread owns a vector of neighbouring series, so that loads are
// coalesced across them; where there are few series, several threads share one.
#include "ops/softmax.h"

#include <cmath>

#include "cuda/row_tile.cuh"

namespace emulsion::cuda {
namespace {

// The maximum and Σ exp(x - maximum) of what was added. Equal numbers are exp(0) apart even where
// they are infinite: a series that begins with -∞ is not lost.
template <class T>
struct Online {
  float top = -INFINITY, sum = 0;

  __device__ __forceinline__ static float ratio(float x, float top) {
    return x == top ? 1.0f : exponential<T>(x - top);
  }
  __device__ __forceinline__ void add(float x) {
    const bool grows = !(x <= top);  // with NaN too, which then stays in the sum
    const float e = grows ? ratio(top, x) : ratio(x, top);
    sum = grows ? fmaf(sum, e, 1.0f) : sum + e;
    top = grows ? x : top;
  }
  __device__ __forceinline__ void merge(float other_top, float other_sum) {
    const float next = Largest{}(top, other_top);
    sum = sum * ratio(top, next) + other_sum * ratio(other_top, next);
    top = next;
  }
  // An infinite maximum leaves nothing but NaN.
  __device__ __forceinline__ float total() const { return sum + (top - top); }
};

// The result from x, by its series' maximum and its sum's inverse or logarithm.
template <class T>
__device__ __forceinline__ float finish(bool logarithm, float x, float top, float scale) {
  return logarithm ? x - top - scale : exponential<T>(x - top) * scale;
}
// dx from dy and y, by Σ dy·y or, for the logarithm, Σ dy.
template <class T>
__device__ __forceinline__ float slope(bool logarithm, float dy, float y, float total) {
  return logarithm ? dy - exponential<T>(y) * total : y * (dy - total);
}

template <class Tile>
__global__ void __launch_bounds__(norm_threads)
    rows_forward(const typename Tile::T* x, int64_t rows, int n, bool logarithm,
                 typename Tile::T* y) {
  using T = typename Tile::T;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * Tile::rows + Tile::row();
  const int here = row < rows ? n : 0;  // threads without a row still meet the others
  float v[Tile::elements];
  Tile::load(x + row * n, here, -INFINITY, v);
  float top = -INFINITY, sum = 0;
#pragma unroll
  for (const float value : v) top = Largest{}(top, value);
  top = Tile::reduce(top, -INFINITY, Largest{});
  if (logarithm) {
#pragma unroll
    for (int i = 0; i < Tile::elements; ++i) {
      v[i] -= top;
      sum += Tile::column(i) < here ? exponential<T>(v[i]) : 0.0f;
    }
    const float offset = logf(Tile::reduce(sum, 0.0f, Sum{}));
#pragma unroll
    for (float& value : v) value -= offset;
  } else {
#pragma unroll
    for (int i = 0; i < Tile::elements; ++i) {
      v[i] = Tile::column(i) < here ? exponential<T>(v[i] - top) : 0.0f;
      sum += v[i];
    }
    const float inverse = 1.0f / Tile::reduce(sum, 0.0f, Sum{});
#pragma unroll
    for (float& value : v) value *= inverse;
  }
  Tile::store(v, here, y + row * n);
}

template <class Tile>
__global__ void __launch_bounds__(norm_threads)
    rows_backward(const typename Tile::T* dy, const typename Tile::T* y, int64_t rows, int n,
                  bool logarithm, typename Tile::T* dx) {
  using T = typename Tile::T;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * Tile::rows + Tile::row();
  const int here = row < rows ? n : 0;
  float upstream[Tile::elements], v[Tile::elements];
  Tile::load(dy + row * n, here, 0.0f, upstream);
  Tile::load(y + row * n, here, 0.0f, v);
  float total = 0;
#pragma unroll
  for (int i = 0; i < Tile::elements; ++i)
    total = logarithm ? total + upstream[i] : fmaf(upstream[i], v[i], total);
  total = Tile::reduce(total, 0.0f, Sum{});
#pragma unroll
  for (int i = 0; i < Tile::elements; ++i) v[i] = slope<T>(logarithm, upstream[i], v[i], total);
  Tile::store(v, here, dx + row * n);
}

// How a tensor is cut: a block takes `columns` vectors of neighbouring series of one outer index,
// `lanes` threads along the axis for each. Long rows of the last axis are `along`: one column,
// whose vectors all belong to one series, of n / width steps.
struct Series {
  int64_t outer, n, vectors;  // vectors: of the inner extent
  int columns, lanes;
  int64_t blocks;  // of an outer index

  Series(int64_t outer, int64_t n, int64_t vectors) : outer(outer), n(n), vectors(vectors) {
    // Eight steps per thread before a second one shares the series; at least 32 vectors side by
    // side where there are as many.
    lanes = 1;
    while (lanes < norm_threads / 32 && int64_t{16} * lanes <= n) lanes *= 2;
    while (lanes < norm_threads && norm_threads / lanes >= 2 * vectors && lanes < n) lanes *= 2;
    columns = norm_threads / lanes;
    blocks = ceil_div(vectors, columns);
  }
  Grid grid() const { return {dim3(static_cast<unsigned>(outer * blocks)), dim3(norm_threads)}; }
};

// Where a thread stands.
template <class T, int width>
struct SeriesPlace {
  int64_t at, step;  // of the series' first vector, from one vector to the next
  int lane, column;
  bool active;

  __device__ __forceinline__ explicit SeriesPlace(const Series& series) {
    const int64_t outer = static_cast<int64_t>(blockIdx.x) / series.blocks;
    lane = static_cast<int>(threadIdx.x) / series.columns;
    column = static_cast<int>(threadIdx.x) - lane * series.columns;
    const int64_t vector =
        (static_cast<int64_t>(blockIdx.x) - outer * series.blocks) * series.columns + column;
    active = vector < series.vectors;
    step = series.vectors * width;
    at = outer * series.n * step + vector * width;
  }
};

template <class T, int width, bool along>
__global__ void __launch_bounds__(norm_threads, 4)
    series_forward(const T* __restrict__ x, Series series, bool logarithm, T* __restrict__ y) {
  EMULSION_SHARED(float, shared, [2][width][norm_threads]);
  const SeriesPlace<T, width> place(series);
  Online<T> online[width];
  if (place.active) {
#pragma unroll 4
    for (int64_t i = place.lane; i < series.n; i += series.lanes) {
      const auto pack = load_pack<T, width>(x + place.at + i * place.step);
#pragma unroll
      for (int j = 0; j < width; ++j) online[j].add(widen(pack.values[j]));
    }
  }
  if (series.lanes > 1) {
#pragma unroll
    for (int j = 0; j < width; ++j) {
      shared[0][j][threadIdx.x] = online[j].top;
      shared[1][j][threadIdx.x] = online[j].sum;
    }
    // Halves of the lanes, the upper onto the lower: the same tree for every thread.
    for (int half = series.lanes / 2; half > 0; half /= 2) {
      __syncthreads();
      if (place.lane < half) {
        const int other = static_cast<int>(threadIdx.x) + half * series.columns;
#pragma unroll
        for (int j = 0; j < width; ++j) {
          online[j].merge(shared[0][j][other], shared[1][j][other]);
          shared[0][j][threadIdx.x] = online[j].top;
          shared[1][j][threadIdx.x] = online[j].sum;
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < width; ++j) {
      online[j].top = shared[0][j][place.column];
      online[j].sum = shared[1][j][place.column];
    }
  }
  if constexpr (along) {
#pragma unroll
    for (int j = 1; j < width; ++j) online[0].merge(online[j].top, online[j].sum);
#pragma unroll
    for (int j = 1; j < width; ++j) online[j] = online[0];
  }
  if (!place.active) return;
  float scale[width];
#pragma unroll
  for (int j = 0; j < width; ++j)
    scale[j] = logarithm ? logf(online[j].total()) : 1.0f / online[j].total();
#pragma unroll 4
  for (int64_t i = place.lane; i < series.n; i += series.lanes) {
    auto pack = load_pack<T, width>(x + place.at + i * place.step);
#pragma unroll
    for (int j = 0; j < width; ++j)
      pack.values[j] =
          narrow<T>(finish<T>(logarithm, widen(pack.values[j]), online[j].top, scale[j]));
    store_pack(y + place.at + i * place.step, pack);
  }
}

template <class T, int width, bool along>
__global__ void __launch_bounds__(norm_threads, 4)
    series_backward(const T* __restrict__ dy, const T* __restrict__ y, Series series,
                    bool logarithm, T* __restrict__ dx) {
  EMULSION_SHARED(float, shared, [width][norm_threads]);
  const SeriesPlace<T, width> place(series);
  float total[width] = {};
  if (place.active) {
#pragma unroll 2
    for (int64_t i = place.lane; i < series.n; i += series.lanes) {
      const auto upstream = load_pack<T, width>(dy + place.at + i * place.step);
      const auto result = load_pack<T, width>(y + place.at + i * place.step);
#pragma unroll
      for (int j = 0; j < width; ++j)
        total[j] =
            fmaf(widen(upstream.values[j]), logarithm ? 1.0f : widen(result.values[j]), total[j]);
    }
  }
  if (series.lanes > 1) {
#pragma unroll
    for (int j = 0; j < width; ++j) shared[j][threadIdx.x] = total[j];
    for (int half = series.lanes / 2; half > 0; half /= 2) {
      __syncthreads();
      if (place.lane < half) {
        const int other = static_cast<int>(threadIdx.x) + half * series.columns;
#pragma unroll
        for (int j = 0; j < width; ++j)
          shared[j][threadIdx.x] = total[j] = total[j] + shared[j][other];
      }
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < width; ++j) total[j] = shared[j][place.column];
  }
  if constexpr (along) {
#pragma unroll
    for (int j = 1; j < width; ++j) total[0] += total[j];
#pragma unroll
    for (int j = 1; j < width; ++j) total[j] = total[0];
  }
  if (!place.active) return;
#pragma unroll 2
  for (int64_t i = place.lane; i < series.n; i += series.lanes) {
    const auto upstream = load_pack<T, width>(dy + place.at + i * place.step);
    auto pack = load_pack<T, width>(y + place.at + i * place.step);
#pragma unroll
    for (int j = 0; j < width; ++j)
      pack.values[j] = narrow<T>(
          slope<T>(logarithm, widen(upstream.values[j]), widen(pack.values[j]), total[j]));
    store_pack(dx + place.at + i * place.step, pack);
  }
}

struct Extents {
  int64_t outer, n, inner;
};

Extents extents(const View& x, int64_t axis) {
  const int at = static_cast<int>(axis);
  return {x.shape.product(0, at), x.shape[at], x.shape.product(at + 1, x.rank())};
}

// Calls rows.template operator()<Tile>() for rows that fit registers, or else
// series.template operator()<width, along>(how the tensor is cut).
template <class T, class Rows, class Whole>
void choose(const Extents& e, bool aligned, Rows&& rows, Whole&& series) {
  constexpr int width = 16 / sizeof(T);
  if (e.outer * e.n * e.inner == 0) return;
  if (e.inner == 1) {
    if (with_row_tile<T, 40>(e.n, aligned, rows)) return;
    if (aligned && e.n % width == 0)
      return series.template operator()<width, true>(Series(e.outer, e.n / width, 1));
  } else if (aligned && e.inner % width == 0) {
    return series.template operator()<width, false>(Series(e.outer, e.n, e.inner / width));
  }
  series.template operator()<1, false>(Series(e.outer, e.n, e.inner));
}

void forward(const char* op, const View& x, int64_t axis, bool logarithm, View& y) {
  check_softmax(op, x, y, axis);
  const Extents e = extents(x, axis);
  dispatch_float(x.dtype, op, [&]<class T>() {
    choose<T>(
        e, vectors(x.data, y.data),
        [&]<class Tile>() {
          launch(op, rows_forward<Tile>, row_grid<Tile>(e.outer), x.as<T>(), e.outer,
                 static_cast<int>(e.n), logarithm, y.as<T>());
        },
        [&]<int width, bool along>(const Series& series) {
          launch(op, series_forward<T, width, along>, series.grid(), x.as<T>(), series, logarithm,
                 y.as<T>());
        });
  });
}

void backward(const char* op, const View& dy, const View& y, int64_t axis, bool logarithm,
              View& dx) {
  check_softmax(op, dy, y, axis);
  check_softmax(op, y, dx, axis);
  const Extents e = extents(y, axis);
  dispatch_float(y.dtype, op, [&]<class T>() {
    choose<T>(
        e, vectors(dy.data, y.data, dx.data),
        [&]<class Tile>() {
          launch(op, rows_backward<Tile>, row_grid<Tile>(e.outer), dy.as<T>(), y.as<T>(), e.outer,
                 static_cast<int>(e.n), logarithm, dx.as<T>());
        },
        [&]<int width, bool along>(const Series& series) {
          launch(op, series_backward<T, width, along>, series.grid(), dy.as<T>(), y.as<T>(), series,
                 logarithm, dx.as<T>());
        });
  });
}

}  // namespace

void softmax_forward(const View& x, int64_t axis, View& y) {
  forward("softmax_forward", x, axis, false, y);
}
void softmax_backward(const View& dy, const View& y, int64_t axis, View& dx) {
  backward("softmax_backward", dy, y, axis, false, dx);
}
void log_softmax_forward(const View& x, int64_t axis, View& y) {
  forward("log_softmax_forward", x, axis, true, y);
}
void log_softmax_backward(const View& dy, const View& y, int64_t axis, View& dx) {
  backward("log_softmax_backward", dy, y, axis, true, dx);
}

}  // namespace emulsion::cuda
