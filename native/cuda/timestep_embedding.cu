// A few thousand sines per training step: latency is the roof, exactness the aim. A thread makes
// the cosine and the sine of one phase.
#include "ops/timestep_embedding.h"

#include <cmath>

#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {
namespace {

// half: at least 1. `scale` is -ln(max_period), for ddpm already divided by half - 1: the order of
// the roundings is the reference's.
template <class T>
__global__ void embed(const T* t, float* y, int64_t count, int64_t half, int64_t dim, float scale,
                      bool ddpm) {
  for (int64_t at = grid_thread(); at < count; at += grid_threads()) {
    const int64_t b = at / half, i = at - b * half;
    const float product = __fmul_rn(scale, static_cast<float>(i));
    const float exponent = ddpm ? product : product / static_cast<float>(half);
    // Rounded once, so that large times keep their phase.
    const auto frequency = static_cast<float>(::exp(static_cast<double>(exponent)));
    const float phase = __fmul_rn(convert<float>(t[b]), frequency);
    float* row = y + b * dim;
    row[ddpm ? half + i : i] = cosf(phase);
    row[ddpm ? i : half + i] = sinf(phase);
    if (i == 0 && dim != 2 * half) row[dim - 1] = 0.0f;
  }
}

}  // namespace

void timestep_embedding(const View& t, double max_period, bool ddpm, View& y) {
  check_timestep_embedding(t, max_period, ddpm, y);
  refuse_float64("timestep_embedding", y.dtype);
  const int64_t dim = y.dim(1), half = dim / 2, count = t.numel() * half;
  const double span = -std::log(max_period);
  const auto scale = static_cast<float>(ddpm ? span / static_cast<double>(half - 1) : span);
  dispatch_all(t.dtype, [&]<class T>() {
    launch("timestep_embedding", embed<T>, stream_grid(count), t.as<T>(), y.as<float>(), count,
           half, dim, scale, ddpm);
  });
}

}  // namespace emulsion::cuda
