// Layer norm over the last axis.
//
// Bandwidth is the roof: a row is read once, held in registers (row_tile.cuh) for its centre, its
// deviations and the result, and written once; backward reads x and dy once. For dweight and dbias
// a block walks a band of rows and keeps sums per column in registers; its groups of threads are
// added in order and leave one partial row per band, which a second launch sums in order. Rows that
// no tile holds are walked in memory, from the L2 cache after the first time.
#include "ops/layer_norm.h"

#include "cuda/row_tile.cuh"

namespace emulsion::cuda {
namespace {

struct Affine {
  Values weight, bias;
};

// A parameter of all columns as floats in shared memory, four neighbours of a vector in one access
// and those of neighbouring threads beside them.
template <int width>
struct Staged {
  static constexpr int part = width < 4 ? width : 4;
  float* at;
  int channels;

  __device__ __forceinline__ Staged(float* at, int channels) : at(at), channels(channels) {}
  // Visible to the block behind the next barrier.
  __device__ __forceinline__ void fill(const Values& values, float otherwise) const {
    for (int c = static_cast<int>(threadIdx.x); c < channels; c += norm_threads)
      at[c % width / part * (channels / width * part) + c / width * part + c % part] =
          values.load(c, otherwise);
  }
  __device__ __forceinline__ void load(int vector, float (&to)[width]) const {
#pragma unroll
    for (int k = 0; k < width; k += part) {
      const auto pack =
          load_pack<float, part>(at + k / part * (channels / width * part) + vector * part);
#pragma unroll
      for (int j = 0; j < part; ++j) to[k + j] = pack.values[j];
    }
  }
};

// Mean, as a rounded centre and the rest of it, and rstd, from Σ(x - center) and its square.
struct RowStatistics {
  float center, rest, rstd;

  __device__ __forceinline__ RowStatistics(float center, float first, float second, float count,
                                           float eps)
      : center(center), rest(first / count) {
    const float variance = second / count - rest * rest;
    rstd = 1.0f / sqrtf((variance < 0 ? 0.0f : variance) + eps);
  }
  __device__ __forceinline__ float normal(float x) const {
    return fmaf(x - center, rstd, -rest * rstd);
  }
};

template <class Tile>
__global__ void __launch_bounds__(norm_threads, 2)
    forward_kernel(const typename Tile::T* x, int64_t rows, int channels, Affine affine, float eps,
                   typename Tile::T* y, float* mean, float* rstd) {
  auto* shared = reinterpret_cast<float*>(dynamic_shared());
  const Staged<Tile::width> weights(shared, channels), biases(shared + channels, channels);
  weights.fill(affine.weight, 1.0f);
  biases.fill(affine.bias, 0.0f);
  __syncthreads();
  const auto count = static_cast<float>(channels);
  const int64_t step = static_cast<int64_t>(gridDim.x) * Tile::rows;
  for (int64_t above = static_cast<int64_t>(blockIdx.x) * Tile::rows; above < rows; above += step) {
    const int64_t row = above + Tile::row();
    const int n = row < rows ? channels : 0;  // threads without a row still meet the others
    float v[Tile::elements];
    Tile::load(x + row * channels, n, 0.0f, v);
    float total = 0;
#pragma unroll
    for (const float value : v) total += value;
    const float center = Tile::reduce(total, 0.0f, Sum{}) / count;
    float first = 0, second = 0;
#pragma unroll
    for (int i = 0; i < Tile::elements; ++i) {
      const float deviation = Tile::column(i) < n ? v[i] - center : 0.0f;
      first += deviation;
      second = fmaf(deviation, deviation, second);
    }
    first = Tile::reduce(first, 0.0f, Sum{});
    second = Tile::reduce(second, 0.0f, Sum{});
    const RowStatistics statistics(center, first, second, count, eps);
    if (n && Tile::place() == 0) {
      mean[row] = statistics.center + statistics.rest;
      rstd[row] = statistics.rstd;
    }
#pragma unroll
    for (int i = 0; i < Tile::elements; i += Tile::width) {
      if (Tile::column(i) >= n) continue;
      float weight[Tile::width], bias[Tile::width];
      weights.load(Tile::vector(i), weight);
      biases.load(Tile::vector(i), bias);
#pragma unroll
      for (int j = 0; j < Tile::width; ++j)
        v[i + j] = fmaf(statistics.normal(v[i + j]), weight[j], bias[j]);
    }
    Tile::store(v, n, y + row * channels);
  }
}

// A block per row.
template <class T>
__global__ void __launch_bounds__(norm_threads)
    forward_long(const T* __restrict__ x, int64_t channels, Affine affine, float eps,
                 T* __restrict__ y, float* mean, float* rstd) {
  x += blockIdx.x * channels;
  y += blockIdx.x * channels;
  const auto count = static_cast<float>(channels);
  float total = 0;
#pragma unroll 4
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) total += widen(x[c]);
  const float center = block_reduce(total, 0.0f, Sum{}) / count;
  float first = 0, second = 0;
#pragma unroll 4
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    const float deviation = widen(x[c]) - center;
    first += deviation;
    second = fmaf(deviation, deviation, second);
  }
  first = block_reduce(first, 0.0f, Sum{});
  second = block_reduce(second, 0.0f, Sum{});
  const RowStatistics statistics(center, first, second, count, eps);
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = statistics.center + statistics.rest;
    rstd[blockIdx.x] = statistics.rstd;
  }
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x)
    y[c] = narrow<T>(fmaf(statistics.normal(widen(x[c])), affine.weight.load(c, 1.0f),
                          affine.bias.load(c, 0.0f)));
}

// That a thread of the backward pass keeps: the row as stored and two sums per column. Two blocks
// share a multiprocessor where this leaves room for the rest.
template <class Tile>
constexpr int backward_registers =
    Tile::elements * (2 + 2 * static_cast<int>(sizeof(typename Tile::T)) / 4);

// A block per band of rows. partials: [bands][dweight, dbias][C], null if not wanted; dx likewise.
template <class Tile>
__global__ void __launch_bounds__(norm_threads, backward_registers<Tile> <= 80 ? 2 : 1)
    backward_kernel(const typename Tile::T* dy, const typename Tile::T* x, int64_t rows,
                    int64_t band, int channels, Values weight, const float* mean, const float* rstd,
                    typename Tile::T* dx, float* partials) {
  using T = typename Tile::T;
  constexpr int elements = Tile::elements, width = Tile::width;
  const Staged<width> weights(reinterpret_cast<float*>(dynamic_shared()), channels);
  weights.fill(weight, 1.0f);
  __syncthreads();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * band;
  const int64_t end = ::min(begin + band, rows);
  float dweight[elements] = {}, dbias[elements] = {};
  for (int64_t above = begin; above < end; above += Tile::rows) {
    const int64_t row = above + Tile::row();
    const int n = row < end ? channels : 0;
    // As stored: sixteen bits take half the registers.
    Pack<T, width> at[elements / width], upstream[elements / width];
#pragma unroll
    for (int i = 0; i < elements; i += width) {
      if (Tile::column(i) >= n) continue;
      at[i / width] = load_pack<T, width>(x + row * channels + Tile::column(i));
      upstream[i / width] = load_pack<T, width>(dy + row * channels + Tile::column(i));
    }
    const float center = n ? mean[row] : 0.0f, r = n ? rstd[row] : 0.0f;
    float s1 = 0, s2 = 0;  // Σ g, Σ g·x̂ with g = dy·weight
#pragma unroll
    for (int i = 0; i < elements; i += width) {
      if (Tile::column(i) >= n) continue;
      float gain[width];
      weights.load(Tile::vector(i), gain);
#pragma unroll
      for (int j = 0; j < width; ++j) {
        const float normal = (widen(at[i / width].values[j]) - center) * r;
        const float d = widen(upstream[i / width].values[j]), g = d * gain[j];
        dweight[i + j] = fmaf(d, normal, dweight[i + j]);
        dbias[i + j] += d;
        s1 += g;
        s2 = fmaf(g, normal, s2);
      }
    }
    if (!dx) continue;
    const auto count = static_cast<float>(channels);
    const float mean1 = Tile::reduce(s1, 0.0f, Sum{}) / count;
    const float mean2 = Tile::reduce(s2, 0.0f, Sum{}) / count;
#pragma unroll
    for (int i = 0; i < elements; i += width) {
      if (Tile::column(i) >= n) continue;
      float gain[width];
      weights.load(Tile::vector(i), gain);
      Pack<T, width>& pack = at[i / width];
#pragma unroll
      for (int j = 0; j < width; ++j) {
        const float normal = (widen(pack.values[j]) - center) * r;
        const float g = widen(upstream[i / width].values[j]) * gain[j];
        pack.values[j] = narrow<T>((g - fmaf(normal, mean2, mean1)) * r);
      }
      store_pack(dx + row * channels + Tile::column(i), pack);
    }
  }
  if (!partials) return;
  partials += int64_t{2} * blockIdx.x * channels;
  // The rows of a block, side by side: one stretch of their columns after the other.
  constexpr int stretch = Tile::threads * width;
  EMULSION_SHARED(float, sums, [2][Tile::rows][stretch]);
#pragma unroll
  for (int i = 0; i < elements; i += width) {
    const int first = i * Tile::threads;
    if (first >= channels) break;
#pragma unroll
    for (int j = 0; j < width; ++j) {
      sums[0][Tile::row()][Tile::place() * width + j] = dweight[i + j];
      sums[1][Tile::row()][Tile::place() * width + j] = dbias[i + j];
    }
    __syncthreads();
    for (int k = static_cast<int>(threadIdx.x); k < 2 * stretch; k += norm_threads) {
      const int half = k / stretch, c = k - half * stretch;
      if (first + c >= channels) continue;
      float sum = 0;
      for (int row = 0; row < Tile::rows; ++row) sum += sums[half][row][c];
      partials[half * channels + first + c] = sum;
    }
    __syncthreads();
  }
}

// A block per row.
template <class T>
__global__ void __launch_bounds__(norm_threads)
    backward_long(const T* __restrict__ dy, const T* __restrict__ x, int64_t channels,
                  Values weight, const float* mean, const float* rstd, T* __restrict__ dx) {
  dy += blockIdx.x * channels;
  x += blockIdx.x * channels;
  dx += blockIdx.x * channels;
  const float center = mean[blockIdx.x], r = rstd[blockIdx.x];
  const auto count = static_cast<float>(channels);
  float s1 = 0, s2 = 0;
#pragma unroll 2
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    const float g = widen(dy[c]) * weight.load(c, 1.0f);
    s1 += g;
    s2 = fmaf(g, (widen(x[c]) - center) * r, s2);
  }
  const float mean1 = block_reduce(s1, 0.0f, Sum{}) / count;
  const float mean2 = block_reduce(s2, 0.0f, Sum{}) / count;
#pragma unroll 2
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    const float g = widen(dy[c]) * weight.load(c, 1.0f);
    dx[c] = narrow<T>((g - fmaf((widen(x[c]) - center) * r, mean2, mean1)) * r);
  }
}

// A thread per column and band: partials as above.
template <class T>
__global__ void __launch_bounds__(norm_threads)
    backward_columns(const T* dy, const T* x, int64_t rows, int64_t band, int64_t channels,
                     const float* mean, const float* rstd, float* partials) {
  const int64_t c = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * band;
  const int64_t end = ::min(begin + band, rows);
  float dweight = 0, dbias = 0;
#pragma unroll 4
  for (int64_t row = begin; row < end; ++row) {
    const float d = widen(dy[row * channels + c]);
    dweight = fmaf(d, (widen(x[row * channels + c]) - mean[row]) * rstd[row], dweight);
    dbias += d;
  }
  partials[int64_t{2} * blockIdx.x * channels + c] = dweight;
  partials[(int64_t{2} * blockIdx.x + 1) * channels + c] = dbias;
}

Grid long_grid(int64_t rows) { return {dim3(static_cast<unsigned>(rows)), dim3(norm_threads)}; }

// Rows of a band: a multiple of `step`, and a partial row no more than a sixth of what the band
// reads, however few rows there are.
int64_t band_rows(int64_t rows, int64_t step) {
  constexpr int64_t most_bands = 512;
  return ceil_div(std::max<int64_t>(8, ceil_div(rows, most_bands)), step) * step;
}

}  // namespace

void layer_norm_forward(const View& x, const View& weight, const View& bias, double eps, View& y,
                        View& mean, View& rstd) {
  const char* op = "layer_norm_forward";
  const LayerExtents e = checked_layer_norm_forward(x, weight, bias, y, mean, rstd);
  dispatch_float(x.dtype, op, [&]<class T>() {
    const Affine affine{Values(op, weight), Values(op, bias)};
    const auto epsilon = static_cast<float>(eps);
    const bool held = with_row_tile<T, 16>(e.channels, vectors(x.data, y.data), [&]<class Tile>() {
      // A few waves of blocks where there are as many rows, so that each reads the parameters once
      // for several.
      Grid grid = row_grid<Tile>(e.rows);
      const auto waves = static_cast<unsigned>(8 * limits().multiprocessors);
      grid.blocks.x = std::min(grid.blocks.x, std::max(waves, grid.blocks.x / 8));
      grid.shared = static_cast<size_t>(8 * e.channels);
      launch(op, forward_kernel<Tile>, grid, x.as<T>(), e.rows, static_cast<int>(e.channels),
             affine, epsilon, y.as<T>(), mean.as<float>(), rstd.as<float>());
    });
    if (!held)
      launch(op, forward_long<T>, long_grid(e.rows), x.as<T>(), e.channels, affine, epsilon,
             y.as<T>(), mean.as<float>(), rstd.as<float>());
  });
}

void layer_norm_backward(const View& dy, const View& x, const View& weight, const View& mean,
                         const View& rstd, View& dx, View& dweight, View& dbias) {
  const char* op = "layer_norm_backward";
  const LayerExtents e = checked_layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  dispatch_float(x.dtype, op, [&]<class T>() {
    const Values gain(op, weight), first(op, dweight), second(op, dbias);
    T* result = dx ? dx.as<T>() : nullptr;
    const bool parameters = dweight || dbias;
    const auto with_bands = [&](int64_t step, auto&& start) {
      const int64_t band = band_rows(e.rows, step), bands = ceil_div(e.rows, band);
      if (!parameters) return start(band, bands, nullptr);
      const Workspace partials(4 * 2 * bands * e.channels);
      start(band, bands, partials.as<float>());
      launch_sum_partials(op, partials.as<float>(), bands, e.channels, first, second);
    };
    const bool aligned = vectors(dy.data, x.data, dx.data);
    const bool held = with_row_tile<T, 16>(e.channels, aligned, [&]<class Tile>() {
      with_bands(Tile::rows, [&](int64_t band, int64_t bands, float* partials) {
        Grid grid = long_grid(bands);
        grid.shared = static_cast<size_t>(4 * e.channels);
        launch(op, backward_kernel<Tile>, grid, dy.as<T>(), x.as<T>(), e.rows, band,
               static_cast<int>(e.channels), gain, mean.as<float>(), rstd.as<float>(), result,
               partials);
      });
    });
    if (held) return;
    if (result)
      launch(op, backward_long<T>, long_grid(e.rows), dy.as<T>(), x.as<T>(), e.channels, gain,
             mean.as<float>(), rstd.as<float>(), result);
    if (parameters)
      with_bands(1, [&](int64_t band, int64_t bands, float* partials) {
        const dim3 blocks(static_cast<unsigned>(bands),
                          static_cast<unsigned>(ceil_div(e.channels, norm_threads)));
        launch(op, backward_columns<T>, {blocks, dim3(norm_threads)}, dy.as<T>(), x.as<T>(), e.rows,
               band, e.channels, mean.as<float>(), rstd.as<float>(), partials);
      });
  });
}

}  // namespace emulsion::cuda
