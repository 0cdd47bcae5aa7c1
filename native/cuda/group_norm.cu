// Group norm over channels-last images [N, ..., C] with an optional per-sample affine map and SiLU.
//
// Bandwidth is the roof. Images whose slices of whole groups fit the shared memory of a block are
// read and written once, in one launch (group_norm.cuh): 2 values per element forward, 3 backward.
// Larger ones are walked twice by chunks of rows (norm_rows.cuh): moments or gradient sums per
// channel and chunk, a fold of them to groups, and the walk that writes: 3 values per element
// forward, 5 backward, the second reading from the L2 cache as far as it reaches. The grid depends
// on chunks, not on images and groups, so that one image fills the device.
//
// The fold weighs partial means in double: their average keeps more digits than each of them, and
// what rounding takes from the centre goes into the offset.
#include "ops/group_norm.h"

#include "cuda/group_norm.cuh"

namespace emulsion::cuda {
namespace {

// means, squares: [N · chunks][C] to mean, rstd [N, G] and coefficients [N][3][C]. One block per
// image and group.
__global__ void __launch_bounds__(norm_threads, 4)
    fold_moments(const float* means, const float* squares, RowTiling tiling, GroupAffine affine,
                 float eps, float* coefficients, float* mean, float* rstd) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) / affine.groups;
  const int64_t group = static_cast<int64_t>(blockIdx.x) - n * affine.groups;
  const int per_group = static_cast<int>(affine.group_channels.divisor);
  const int64_t first = group * per_group;
  const auto each = [&](auto&& body) {
    // Neighbouring threads read neighbouring channels of a chunk.
    const int64_t count = tiling.chunks * per_group;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      const int64_t chunk = i / per_group;
      body((n * tiling.chunks + chunk) * tiling.channels + first + (i - chunk * per_group),
           tiling.rows_of(chunk));
    }
  };
  const double count = static_cast<double>(tiling.rows) * per_group;
  double sum = 0;
  each([&](int64_t at, int64_t rows) {
    sum += static_cast<double>(rows) * static_cast<double>(means[at]);
  });
  sum = block_reduce(sum, 0.0, Sum{});
  const double center = count > 0 ? sum / count : 0.0;
  float spread = 0;
  each([&](int64_t at, int64_t rows) {
    const auto delta = static_cast<float>(static_cast<double>(means[at]) - center);
    spread += fmaf(static_cast<float>(rows) * delta, delta, squares[at]);
  });
  spread = block_reduce(spread, 0.0f, Sum{});
  const auto rounded = static_cast<float>(center);
  const auto rest = static_cast<float>(center - static_cast<double>(rounded));
  const float variance = count > 0 ? spread / static_cast<float>(count) : 0.0f;
  const float scaling = 1.0f / sqrtf(variance + eps);
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = rounded;
    rstd[blockIdx.x] = scaling;
  }
  float* k = coefficients + n * 3 * tiling.channels;
  for (int64_t c = first + threadIdx.x; c < first + per_group; c += blockDim.x) {
    k[center_field * tiling.channels + c] = rounded;
    affine.maps(n, c, rest, scaling, k[scale_field * tiling.channels + c],
                k[offset_field * tiling.channels + c]);
  }
}

// sums [N · chunks][2][C] to the gradients of parameters and coefficients [N][5][C]. One block per
// image and group: `columns` channels at a time, the chunks spread over the lanes.
__global__ void __launch_bounds__(norm_threads)
    fold_gradients(const float* sums, RowTiling tiling, GroupAffine affine,
                   GroupGradients gradients, int columns, float* coefficients) {
  EMULSION_SHARED(float, partial, [2][norm_threads]);
  const int64_t n = static_cast<int64_t>(blockIdx.x) / affine.groups;
  const int64_t group = static_cast<int64_t>(blockIdx.x) - n * affine.groups;
  const int64_t per_group = affine.group_channels.divisor;
  const float rstd = affine.rstd[blockIdx.x];
  const int thread = static_cast<int>(threadIdx.x), lanes = norm_threads / columns;
  const int lane = thread / columns, column = thread - lane * columns;
  float s1 = 0, s2 = 0;
  for (int64_t begin = 0; begin < per_group; begin += columns) {
    const int64_t c = group * per_group + begin + column;
    const bool inside = lane < lanes && begin + column < per_group;
    float a = 0, b = 0;
    if (inside) {
#pragma unroll 2
      for (int64_t chunk = lane; chunk < tiling.chunks; chunk += lanes) {
        const float* from = sums + 2 * (n * tiling.chunks + chunk) * tiling.channels + c;
        a += from[0];
        b += from[tiling.channels];
      }
    }
    partial[0][thread] = a;
    partial[1][thread] = b;
    __syncthreads();
    if (inside && lane == 0) {
      for (int other = 1; other < lanes; ++other) {
        a += partial[0][other * columns + column];
        b += partial[1][other * columns + column];
      }
      b *= rstd;
      gradients.store(affine, n, c, a, b);
      const float gamma = affine.weight.load(c, 1.0f) * affine.factor(n, c);
      s1 = fmaf(gamma, a, s1);
      s2 = fmaf(gamma, b, s2);
    }
    __syncthreads();
  }
  s1 = block_reduce(s1, 0.0f, Sum{});
  s2 = block_reduce(s2, 0.0f, Sum{});
  const float count = static_cast<float>(tiling.rows) * static_cast<float>(per_group);
  float* k = coefficients + n * 5 * tiling.channels;
  for (int64_t c = group * per_group + thread; c < (group + 1) * per_group; c += blockDim.x) {
    affine.channel(n, c, k[center_field * tiling.channels + c],
                   k[scale_field * tiling.channels + c], k[offset_field * tiling.channels + c]);
    k[q_field * tiling.channels + c] = -rstd * rstd * s2 / count;
    k[r_field * tiling.channels + c] = -rstd * s1 / count;
  }
}

GroupAffine affine_of(const char* op, const GroupExtents& e, const View& weight, const View& bias,
                      const View& scale, const View& shift, const View& mean, const View& rstd) {
  return {Values(op, weight),          Values(op, bias), Values(op, scale),
          Values(op, shift),           e.channels,       static_cast<int>(e.groups),
          Divisor(e.group_channels()), mean.as<float>(), rstd.as<float>()};
}

Grid group_grid(const GroupExtents& e) {
  return {dim3(static_cast<unsigned>(e.images * e.groups)), dim3(norm_threads)};
}

template <class T, int width, bool silu>
void forward(const char* op, const GroupExtents& e, const View& x, const GroupAffine& affine,
             float eps, View& y, View& mean, View& rstd) {
  const Residence residence(e, width, sizeof(T), 1);
  if (residence.fits) {
    launch(op, group_norm_resident<T, width, silu>, residence.grid(), x.as<T>(), residence, affine,
           eps, y.as<T>(), mean.as<float>(), rstd.as<float>());
    return;
  }
  const RowTiling tiling(e.images, e.pixels, e.channels, width);
  const int64_t partials = e.images * tiling.chunks * e.channels;
  const Workspace means(4 * partials), squares(4 * partials);
  const Workspace coefficients(4 * 3 * e.images * e.channels);
  launch(op, channel_moments<T, width>, tiling.grid(row_shared_bytes<width>(tiling)), x.as<T>(),
         tiling, means.as<float>(), squares.as<float>());
  launch(op, fold_moments, group_grid(e), means.as<float>(), squares.as<float>(), tiling, affine,
         eps, coefficients.as<float>(), mean.as<float>(), rstd.as<float>());
  launch(op, normalize_rows<T, width, silu>, tiling.grid(), x.as<T>(), tiling,
         coefficients.as<float>(), 3, y.as<T>());
}

template <class T, int width, bool silu>
void backward(const char* op, const GroupExtents& e, const View& dy, const View& x,
              const GroupAffine& affine, const GroupGradients& gradients, View& dx) {
  T* result = dx ? dx.as<T>() : nullptr;
  const Residence residence(e, width, sizeof(T), 2);
  if (residence.fits) {
    launch(op, group_norm_resident_backward<T, width, silu>, residence.grid(), dy.as<T>(),
           x.as<T>(), residence, affine, gradients, result);
    return;
  }
  const RowTiling tiling(e.images, e.pixels, e.channels, width);
  const Workspace sums(4 * 2 * e.images * tiling.chunks * e.channels);
  const Workspace coefficients(4 * 5 * e.images * e.channels);
  launch(op, gradient_sums<T, width, silu, GroupAffine>,
         tiling.grid(row_shared_bytes<width>(tiling)), dy.as<T>(), x.as<T>(), tiling, affine,
         sums.as<float>());
  const int columns = static_cast<int>(std::min<int64_t>(e.group_channels(), norm_threads));
  launch(op, fold_gradients, group_grid(e), sums.as<float>(), tiling, affine, gradients, columns,
         coefficients.as<float>());
  if (result)
    launch(op, gradient_rows<T, width, silu>, tiling.grid(), dy.as<T>(), x.as<T>(), tiling,
           coefficients.as<float>(), result);
}

// Calls body.template operator()<T, width, silu>().
template <class Body>
void dispatch(const char* op, DType dtype, int64_t channels, bool aligned, bool silu, Body&& body) {
  dispatch_float(dtype, op, [&]<class T>() {
    constexpr int width = 16 / sizeof(T);
    if (aligned && channels % width == 0) {
      if (silu)
        body.template operator()<T, width, true>();
      else
        body.template operator()<T, width, false>();
    } else {
      if (silu)
        body.template operator()<T, 1, true>();
      else
        body.template operator()<T, 1, false>();
    }
  });
}

}  // namespace

void group_norm_forward(const View& x, const View& weight, const View& bias, const View& scale,
                        const View& shift, double eps, bool silu, View& y, View& mean, View& rstd) {
  const char* op = "group_norm_forward";
  const GroupExtents e = checked_group_norm_forward(x, weight, bias, scale, shift, y, mean, rstd);
  dispatch(op, x.dtype, e.channels, vectors(x.data, y.data), silu,
           [&]<class T, int width, bool activated>() {
             const auto affine = affine_of(op, e, weight, bias, scale, shift, mean, rstd);
             forward<T, width, activated>(op, e, x, affine, static_cast<float>(eps), y, mean, rstd);
           });
}

void group_norm_backward(const View& dy, const View& x, const View& weight, const View& bias,
                         const View& scale, const View& shift, const View& mean, const View& rstd,
                         bool silu, View& dx, View& dweight, View& dbias, View& dscale,
                         View& dshift) {
  const char* op = "group_norm_backward";
  const GroupExtents e = checked_group_norm_backward(dy, x, weight, bias, scale, shift, mean, rstd,
                                                     dx, dweight, dbias, dscale, dshift);
  const bool aligned = vectors(dy.data, x.data, dx.data);
  dispatch(op, x.dtype, e.channels, aligned, silu, [&]<class T, int width, bool activated>() {
    const auto affine = affine_of(op, e, weight, bias, scale, shift, mean, rstd);
    const Workspace parameters(4 * 2 * e.images * e.channels);
    const GroupGradients gradients{Values(op, dscale), Values(op, dshift), parameters.as<float>()};
    backward<T, width, activated>(op, e, dy, x, affine, gradients, dx);
    launch_sum_partials(op, parameters.as<float>(), e.images, e.channels, Values(op, dweight),
                        Values(op, dbias));
  });
}

}  // namespace emulsion::cuda
