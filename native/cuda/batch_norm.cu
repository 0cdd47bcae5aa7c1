// Batch norm over channels-last tensors: a group norm whose groups are single channels and whose
// one image is the whole batch, plus running statistics.
//
// Bandwidth is the roof: forward in training reads x twice and writes y, backward reads dy and x
// twice and writes dx, by the walks of norm_rows.cuh. Between them one small launch folds the
// partial results of chunks: 32 channels per block, so that its reads are coalesced, the chunks
// spread over eight warps. In evaluation the first walk falls away.
#include "ops/batch_norm.h"

#include "cuda/norm_rows.cuh"

namespace emulsion::cuda {
namespace {

// What gradient_sums and the folds know of the channels.
struct ChannelAffine {
  Values weight;
  const float *mean, *rstd;  // of the backward pass

  __device__ __forceinline__ void channel(int64_t, int64_t c, float& center, float& scale,
                                          float& offset) const {
    center = mean[c];
    scale = rstd[c] * weight.load(c, 1.0f);
    offset = 0;  // v itself is needed for an activation only
  }
};

struct Running {
  Values mean, variance;
  float momentum;
};

constexpr int fold_warps = norm_threads / 32;

// Sums a value of each warp's lanes over the warps: lane l of every warp gets the sum of lanes l.
template <class T>
__device__ __forceinline__ T sum_over_warps(T value, T (&shared)[fold_warps][32]) {
  shared[warp_index()][lane_index()] = value;
  __syncthreads();
  T sum = shared[0][lane_index()];
  for (int warp = 1; warp < fold_warps; ++warp) sum += shared[warp][lane_index()];
  __syncthreads();
  return sum;
}

__device__ __forceinline__ void store_coefficients(float* k, int64_t channels, int64_t c,
                                                   double mean, float rstd, const Values& weight,
                                                   const Values& bias, float* means, float* rstds) {
  const auto center = static_cast<float>(mean);
  const auto rest = static_cast<float>(mean - static_cast<double>(center));
  const float scale = rstd * weight.load(c, 1.0f);
  k[center_field * channels + c] = center;
  k[scale_field * channels + c] = scale;
  k[offset_field * channels + c] = bias.load(c, 0.0f) - rest * scale;
  means[c] = center;
  rstds[c] = rstd;
}

// means, squares [chunks][C] to mean, rstd, running statistics and coefficients [3][C].
__global__ void __launch_bounds__(norm_threads)
    fold_training(const float* means, const float* squares, RowTiling tiling, Values weight,
                  Values bias, Running running, float eps, float* coefficients, float* mean,
                  float* rstd) {
  EMULSION_SHARED(double, sums, [fold_warps][32]);
  EMULSION_SHARED(float, spreads, [fold_warps][32]);
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + lane_index();
  const bool inside = c < tiling.channels;
  const auto rows = static_cast<double>(tiling.rows);
  double center = 0;
  for (int64_t chunk = warp_index(); inside && chunk < tiling.chunks; chunk += fold_warps)
    center += static_cast<double>(tiling.rows_of(chunk)) *
              static_cast<double>(means[chunk * tiling.channels + c]);
  center = sum_over_warps(center, sums) / rows;
  float spread = 0;
  for (int64_t chunk = warp_index(); inside && chunk < tiling.chunks; chunk += fold_warps) {
    const int64_t at = chunk * tiling.channels + c;
    const auto delta = static_cast<float>(static_cast<double>(means[at]) - center);
    spread += fmaf(static_cast<float>(tiling.rows_of(chunk)) * delta, delta, squares[at]);
  }
  spread = sum_over_warps(spread, spreads);
  if (!inside || warp_index() != 0) return;
  const auto count = static_cast<float>(tiling.rows);
  store_coefficients(coefficients, tiling.channels, c, center, 1.0f / sqrtf(spread / count + eps),
                     weight, bias, mean, rstd);
  if (running.mean.data) {
    const float before = running.mean.load(c, 0.0f);
    running.mean.store(c, fmaf(running.momentum, static_cast<float>(center) - before, before));
  }
  if (running.variance.data) {
    const float before = running.variance.load(c, 0.0f);
    running.variance.store(c, fmaf(running.momentum, spread / (count - 1) - before, before));
  }
}

__global__ void __launch_bounds__(norm_threads)
    use_running(Running running, int64_t channels, Values weight, Values bias, float eps,
                float* coefficients, float* mean, float* rstd) {
  for (int64_t c = grid_thread(); c < channels; c += grid_threads())
    store_coefficients(coefficients, channels, c, static_cast<double>(running.mean.load(c, 0.0f)),
                       1.0f / sqrtf(running.variance.load(c, 1.0f) + eps), weight, bias, mean,
                       rstd);
}

// sums [chunks][2][C] to dweight, dbias and coefficients [5][C].
__global__ void __launch_bounds__(norm_threads)
    fold_gradients(const float* sums, RowTiling tiling, ChannelAffine affine, bool training,
                   Values dweight, Values dbias, float* coefficients) {
  EMULSION_SHARED(float, shared, [fold_warps][32]);
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + lane_index();
  const bool inside = c < tiling.channels;
  float a = 0, b = 0;
  for (int64_t chunk = warp_index(); inside && chunk < tiling.chunks; chunk += fold_warps) {
    const float* from = sums + 2 * chunk * tiling.channels + c;
    a += from[0];
    b += from[tiling.channels];
  }
  a = sum_over_warps(a, shared);
  b = sum_over_warps(b, shared);
  if (!inside || warp_index() != 0) return;
  const float rstd = affine.rstd[c], rows = static_cast<float>(tiling.rows);
  b *= rstd;
  dbias.store(c, a);
  dweight.store(c, b);
  float* k = coefficients + c;
  float scale;
  affine.channel(0, c, k[center_field * tiling.channels], scale, k[offset_field * tiling.channels]);
  k[scale_field * tiling.channels] = scale;
  // In evaluation the statistics were constants: dx = rstd·weight·dy.
  k[q_field * tiling.channels] = training ? -scale * rstd * b / rows : 0.0f;
  k[r_field * tiling.channels] = training ? -scale * a / rows : 0.0f;
}

Grid channel_grid(int64_t channels) {
  return {dim3(static_cast<unsigned>(ceil_div(channels, 32))), dim3(norm_threads)};
}

// Calls body.template operator()<T, width>().
template <class Body>
void dispatch(const char* op, DType dtype, int64_t channels, bool aligned, Body&& body) {
  dispatch_float(dtype, op, [&]<class T>() {
    constexpr int width = 16 / sizeof(T);
    if (aligned && channels % width == 0)
      body.template operator()<T, width>();
    else
      body.template operator()<T, 1>();
  });
}

}  // namespace

void batch_norm_forward(const View& x, const View& weight, const View& bias, bool training,
                        double momentum, double eps, View& running_mean, View& running_var, View& y,
                        View& mean, View& rstd) {
  const char* op = "batch_norm_forward";
  check_batch_norm_forward(x, weight, bias, training, running_mean, running_var, y, mean, rstd);
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  dispatch(op, x.dtype, channels, vectors(x.data, y.data), [&]<class T, int width>() {
    const RowTiling tiling(1, rows, channels, width);
    const Values gain(op, weight), offset(op, bias);
    const Running running{Values(op, running_mean), Values(op, running_var),
                          static_cast<float>(momentum)};
    const Workspace coefficients(4 * 3 * channels);
    if (training && rows > 0) {
      const int64_t partials = tiling.chunks * channels;
      const Workspace means(4 * partials), squares(4 * partials);
      launch(op, channel_moments<T, width>, tiling.grid(row_shared_bytes<width>(tiling)), x.as<T>(),
             tiling, means.as<float>(), squares.as<float>());
      launch(op, fold_training, channel_grid(channels), means.as<float>(), squares.as<float>(),
             tiling, gain, offset, running, static_cast<float>(eps), coefficients.as<float>(),
             mean.as<float>(), rstd.as<float>());
    } else {
      launch(op, use_running, stream_grid(channels), running, channels, gain, offset,
             static_cast<float>(eps), coefficients.as<float>(), mean.as<float>(), rstd.as<float>());
    }
    launch(op, normalize_rows<T, width, false>, tiling.grid(), x.as<T>(), tiling,
           coefficients.as<float>(), 3, y.as<T>());
  });
}

void batch_norm_backward(const View& dy, const View& x, const View& weight, const View& mean,
                         const View& rstd, bool training, View& dx, View& dweight, View& dbias) {
  const char* op = "batch_norm_backward";
  check_batch_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  const bool aligned = vectors(dy.data, x.data, dx.data);
  dispatch(op, x.dtype, channels, aligned, [&]<class T, int width>() {
    const RowTiling tiling(1, rows, channels, width);
    const ChannelAffine affine{Values(op, weight), mean.as<float>(), rstd.as<float>()};
    const Workspace sums(4 * 2 * std::max<int64_t>(1, tiling.chunks) * channels);
    const Workspace coefficients(4 * 5 * channels);
    launch(op, gradient_sums<T, width, false, ChannelAffine>,
           tiling.grid(row_shared_bytes<width>(tiling)), dy.as<T>(), x.as<T>(), tiling, affine,
           sums.as<float>());
    launch(op, fold_gradients, channel_grid(channels), sums.as<float>(), tiling, affine, training,
           Values(op, dweight), Values(op, dbias), coefficients.as<float>());
    if (dx)
      launch(op, gradient_rows<T, width, false>, tiling.grid(), dy.as<T>(), x.as<T>(), tiling,
             coefficients.as<float>(), dx.as<T>());
  });
}

}  // namespace emulsion::cuda
