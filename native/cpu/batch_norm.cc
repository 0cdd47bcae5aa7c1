// Batch norm on the CPU: a group norm whose groups are single channels and whose one image is the
// whole batch, plus running statistics.
#include "ops/batch_norm.h"

#include "cpu/norm_rows.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// moments: [2][channels], mean and Σ(x - mean)² over all rows.
template <class T>
void batch_moments(const T* x, int64_t rows, int64_t channels, double* moments) {
  const int64_t chunks = chunk_count(rows, channels);
  double* partial = scratch<double>(1, chunks * 2 * channels);
  for_chunks(rows, channels, false, [&](int64_t chunk, int64_t first, int64_t count) {
    double* to = partial + chunk * 2 * channels;
    channel_moments(x + first * channels, count, channels, to, to + channels);
  });
  for (int64_t i = 0; i < 2 * channels; ++i) moments[i] = 0;
  const int64_t step = rows_per_chunk(channels);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t before = chunk * step;
    const int64_t count = rows - before < step ? rows - before : step;
    const double* from = partial + chunk * 2 * channels;
    merge_moments(static_cast<double>(before), static_cast<double>(count), channels, from,
                  from + channels, moments, moments + channels);
  }
}

// running += momentum·(value - running)
void update_running(View& running, const double* value, int64_t channels, double momentum) {
  if (!running) return;
  double* current = scratch<double>(4, channels);
  read_values(running, 0, channels, 0.0, current);
  for (int64_t c = 0; c < channels; ++c) current[c] += momentum * (value[c] - current[c]);
  write_values(current, 0, channels, running);
}

}  // namespace

void batch_norm_forward(const View& x, const View& weight, const View& bias, bool training,
                        double momentum, double eps, View& running_mean, View& running_var, View& y,
                        View& mean, View& rstd) {
  check_batch_norm_forward(x, weight, bias, training, running_mean, running_var, y, mean, rstd);
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  double* center = scratch<double>(0, 5 * channels);
  double *variance = center + channels, *unbiased = variance + channels,
         *gain = unbiased + channels, *offset = gain + channels;
  read_values(weight, 0, channels, 1.0, gain);
  read_values(bias, 0, channels, 0.0, offset);
  dispatch_floating(x.dtype, "batch_norm_forward", [&]<class T>() {
    using A = Accumulator<T>;
    if (training && rows > 0) {
      batch_moments(x.as<T>(), rows, channels, center);
      for (int64_t c = 0; c < channels; ++c) {
        unbiased[c] = variance[c] / static_cast<double>(rows - 1);
        variance[c] = variance[c] > 0 ? variance[c] / static_cast<double>(rows) : variance[c] * 0;
      }
      update_running(running_mean, center, channels, momentum);
      update_running(running_var, unbiased, channels, momentum);
    } else {
      read_values(running_mean, 0, channels, 0.0, center);
      read_values(running_var, 0, channels, 1.0, variance);
    }
    Coefficients<A> k(2, channels);
    for (int64_t c = 0; c < channels; ++c) {
      const double r = 1.0 / __builtin_sqrt(variance[c] + eps);
      mean.as<A>()[c] = k.center[c] = static_cast<A>(center[c]);
      rstd.as<A>()[c] = static_cast<A>(r);
      k.scale[c] = static_cast<A>(r * gain[c]);
      k.offset[c] =
          static_cast<A>(offset[c] - (center[c] - static_cast<double>(k.center[c])) * r * gain[c]);
    }
    const bool past = runs_go_past(y, channels);
    for_chunks(rows, channels, true, [&](int64_t, int64_t first, int64_t count) {
      const int64_t at = first * channels;
      normalize_rows<false>(x.as<T>() + at, count, channels, k, y.as<T>() + at, past);
    });
  });
}

void batch_norm_backward(const View& dy, const View& x, const View& weight, const View& mean,
                         const View& rstd, bool training, View& dx, View& dweight, View& dbias) {
  check_batch_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  const int64_t channels = x.dim(-1), rows = x.numel() / channels;
  dispatch_floating(x.dtype, "batch_norm_backward", [&]<class T>() {
    using A = Accumulator<T>;
    Coefficients<A> k(2, channels);
    for (int64_t c = 0; c < channels; ++c) k.center[c] = mean.as<A>()[c];
    const int64_t chunks = chunk_count(rows, channels);
    double* partial = scratch<double>(1, chunks * 2 * channels);
    for_chunks(rows, channels, false, [&](int64_t chunk, int64_t first, int64_t count) {
      const int64_t at = first * channels;
      gradient_sums<false>(dy.as<T>() + at, x.as<T>() + at, count, channels, k,
                           partial + chunk * 2 * channels);
    });
    double* sums = scratch<double>(0, 3 * channels);  // Σ dy, Σ dy·x̂
    double* gain = sums + 2 * channels;
    for (int64_t i = 0; i < 2 * channels; ++i) sums[i] = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int64_t i = 0; i < 2 * channels; ++i) sums[i] += partial[chunk * 2 * channels + i];
    read_values(weight, 0, channels, 1.0, gain);
    for (int64_t c = 0; c < channels; ++c) {
      const double r = static_cast<double>(rstd.as<A>()[c]);
      sums[channels + c] *= r;
      k.p[c] = static_cast<A>(r * gain[c]);
      if (!training) continue;  // statistics were constants: dx = rstd·weight·dy
      k.q[c] = static_cast<A>(-r * r * gain[c] * sums[channels + c] / static_cast<double>(rows));
      k.r[c] = static_cast<A>(-r * gain[c] * sums[c] / static_cast<double>(rows));
    }
    write_values(sums, 0, channels, dbias);
    write_values(sums + channels, 0, channels, dweight);
    if (!dx) return;
    const bool past = runs_go_past(dx, channels);
    for_chunks(rows, channels, true, [&](int64_t, int64_t first, int64_t count) {
      const int64_t at = first * channels;
      gradient_rows<false>(dy.as<T>() + at, x.as<T>() + at, count, channels, k, dx.as<T>() + at,
                           past);
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
