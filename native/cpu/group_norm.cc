// Group norm on the CPU: two walks over an image forward (statistics, apply) and two backward
// (sums, dx), the second one mostly from cache. Statistics are gathered per channel, whatever the
// size of a group, and folded. Small images are spread over the threads; a large one is shared by
// them, chunk by chunk.
#include "ops/group_norm.h"

#include <type_traits>

#include "cpu/norm_rows.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Calls body(n) for every image: each on a thread of its own if it fits a core's cache, else one
// after the other, so that all threads share the work and the cache on one image.
template <class Body>
void for_images(const GroupExtents& e, int64_t value_bytes, Body&& body) {
  if (e.pixels * e.channels * value_bytes <= caches().core) {
    parallel_for(e.images, 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) body(n);
    });
  } else {
    for (int64_t n = 0; n < e.images; ++n) body(n);
  }
}

// The per-channel affine maps of one image, as doubles: u = x̂·weight + bias, v = u·factor + shift.
struct Affine {
  double *weight, *bias, *factor, *shift;

  Affine(int slot, int64_t n, int64_t channels, const View& weight_view, const View& bias_view,
         const View& scale_view, const View& shift_view) {
    weight = scratch<double>(slot, 4 * channels);
    bias = weight + channels;
    factor = bias + channels;
    shift = factor + channels;
    read_values(weight_view, 0, channels, 1.0, weight);
    read_values(bias_view, 0, channels, 0.0, bias);
    read_values(scale_view, n * channels, channels, 0.0, factor);
    read_values(shift_view, n * channels, channels, 0.0, shift);
    for (int64_t c = 0; c < channels; ++c) factor[c] += 1.0;
  }
};

// Moments of groups from those of their channels, each over `rows` values.
void fold_channels(const GroupExtents& e, double rows, const double* mean, const double* square,
                   double* group_mean, double* group_square) {
  const int64_t per_group = e.group_channels();
  for (int64_t g = 0; g < e.groups; ++g) {
    const double* means = mean + g * per_group;
    double center = 0, spread = 0;
    for (int64_t c = 0; c < per_group; ++c) center += means[c];
    center /= static_cast<double>(per_group);
    for (int64_t c = 0; c < per_group; ++c)
      spread += square[g * per_group + c] + rows * (means[c] - center) * (means[c] - center);
    group_mean[g] = center;
    group_square[g] = spread;
  }
}

// moments: [2][groups], mean and Σ(x - mean)² of each group of one image.
template <class T>
void group_moments(const T* x, const GroupExtents& e, double* moments) {
  const int64_t chunks = chunk_count(e.pixels, e.channels);
  double* partial = scratch<double>(1, chunks * 2 * e.groups);
  for_chunks(e.pixels, e.channels, false, [&](int64_t chunk, int64_t first, int64_t rows) {
    double* mean = scratch<double>(4, 2 * e.channels);
    double* square = mean + e.channels;
    channel_moments(x + first * e.channels, rows, e.channels, mean, square);
    double* to = partial + chunk * 2 * e.groups;
    fold_channels(e, static_cast<double>(rows), mean, square, to, to + e.groups);
  });
  for (int64_t i = 0; i < 2 * e.groups; ++i) moments[i] = 0;
  const int64_t step = rows_per_chunk(e.channels);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t before = chunk * step;
    const int64_t rows = e.pixels - before < step ? e.pixels - before : step;
    const double* from = partial + chunk * 2 * e.groups;
    merge_moments(static_cast<double>(before * e.group_channels()),
                  static_cast<double>(rows * e.group_channels()), e.groups, from, from + e.groups,
                  moments, moments + e.groups);
  }
}

// Coefficients of v from statistics in double.
template <class A>
void set_coefficients(const GroupExtents& e, const Affine& affine, const double* mean,
                      const double* rstd, Coefficients<A>& k) {
  const int64_t per_group = e.group_channels();
  for (int64_t c = 0; c < e.channels; ++c) {
    const int64_t g = c / per_group;
    const double scale = rstd[g] * affine.weight[c] * affine.factor[c];
    k.center[c] = static_cast<A>(mean[g]);
    k.scale[c] = static_cast<A>(scale);
    // What rounding took from the centre goes into the offset.
    k.offset[c] = static_cast<A>(affine.bias[c] * affine.factor[c] + affine.shift[c] -
                                 (mean[g] - static_cast<double>(k.center[c])) * scale);
  }
}

template <bool silu, class T>
void forward_image(int64_t n, const GroupExtents& e, const T* x, const Affine& affine, double eps,
                   T* y, bool past, Accumulator<T>* mean, Accumulator<T>* rstd) {
  using A = Accumulator<T>;
  double* moments = scratch<double>(3, 2 * e.groups);
  group_moments(x, e, moments);
  double* spread = moments + e.groups;
  const int64_t count = e.pixels * e.group_channels();
  for (int64_t g = 0; g < e.groups; ++g) {
    const double variance = count ? spread[g] / static_cast<double>(count) : 0.0;
    spread[g] = 1.0 / __builtin_sqrt((variance < 0 ? 0.0 : variance) + eps);
    mean[n * e.groups + g] = static_cast<A>(moments[g]);
    rstd[n * e.groups + g] = static_cast<A>(spread[g]);
  }
  Coefficients<A> k(2, e.channels);
  set_coefficients(e, affine, moments, spread, k);
  for_chunks(e.pixels, e.channels, true, [&](int64_t, int64_t first, int64_t rows) {
    normalize_rows<silu>(x + first * e.channels, rows, e.channels, k, y + first * e.channels, past);
  });
}

// Whether dx goes past the caches, written once. With SiLU dv is computed twice for that, which
// pays where several threads wait for memory anyway and vectors are wide: 0.91 to 0.95 of the time
// at AVX-512, but 1.24 to 1.36 at AVX2, and 1.10 to 1.14 on one thread.
bool gradient_goes_past(const View& dx, int64_t channels, bool silu) {
  constexpr bool wide = vector_bytes == 64;
  return dx && runs_go_past(dx, channels) && (!silu || (wide && num_threads() > 1));
}

// sums: [2][channels], Σ dv and Σ dv·x̂ of one image; dx: null if not wanted.
template <bool silu, class T>
void backward_image(const GroupExtents& e, const T* dy, const T* x, const Affine& affine,
                    const Accumulator<T>* mean, const Accumulator<T>* rstd, double* sums, T* dx,
                    bool past) {
  using A = Accumulator<T>;
  double* statistics = scratch<double>(3, 2 * e.groups);
  for (int64_t g = 0; g < e.groups; ++g) {
    statistics[g] = static_cast<double>(mean[g]);
    statistics[e.groups + g] = static_cast<double>(rstd[g]);
  }
  Coefficients<A> k(2, e.channels);
  set_coefficients(e, affine, statistics, statistics + e.groups, k);

  // Where no digit is lost on the way, dx holds dv from the first walk to the second, which then
  // needs no exponential; or dx is written once, past the caches.
  A* kept = nullptr;
  if constexpr (silu && std::is_same_v<T, A>) kept = past ? nullptr : dx;
  const int64_t chunks = chunk_count(e.pixels, e.channels);
  double* partial = scratch<double>(1, chunks * 2 * e.channels);
  for_chunks(e.pixels, e.channels, false, [&](int64_t chunk, int64_t first, int64_t rows) {
    const int64_t at = first * e.channels;
    gradient_sums<silu>(dy + at, x + at, rows, e.channels, k, partial + chunk * 2 * e.channels,
                        kept ? kept + at : nullptr);
  });
  for (int64_t i = 0; i < 2 * e.channels; ++i) sums[i] = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    for (int64_t i = 0; i < 2 * e.channels; ++i) sums[i] += partial[chunk * 2 * e.channels + i];

  // dx = rstd·(γ·dv - (s1 + x̂·s2) / M), with γ = weight·factor, s1 = Σ γ·dv and s2 = Σ γ·dv·x̂ over
  // the group.
  const int64_t per_group = e.group_channels();
  const double count = static_cast<double>(e.pixels * per_group);
  for (int64_t g = 0; g < e.groups; ++g) {
    const double r = static_cast<double>(rstd[g]);
    double s1 = 0, s2 = 0;
    for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      const double gamma = affine.weight[c] * affine.factor[c];
      sums[e.channels + c] *= r;
      s1 += gamma * sums[c];
      s2 += gamma * sums[e.channels + c];
      k.p[c] = static_cast<A>(r * gamma);
    }
    for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      k.q[c] = static_cast<A>(-r * r * s2 / count);
      k.r[c] = static_cast<A>(-r * s1 / count);
    }
  }
  if (!dx) return;
  for_chunks(e.pixels, e.channels, true, [&](int64_t, int64_t first, int64_t rows) {
    const int64_t at = first * e.channels;
    if (kept)
      gradient_rows<false>(dx + at, x + at, rows, e.channels, k, dx + at, false);
    else
      gradient_rows<silu>(dy + at, x + at, rows, e.channels, k, dx + at, past);
  });
}

}  // namespace

void group_norm_forward(const View& x, const View& weight, const View& bias, const View& scale,
                        const View& shift, double eps, bool silu, View& y, View& mean, View& rstd) {
  const GroupExtents e = checked_group_norm_forward(x, weight, bias, scale, shift, y, mean, rstd);
  dispatch_floating(x.dtype, "group_norm_forward", [&]<class T>() {
    using A = Accumulator<T>;
    const bool past = runs_go_past(y, e.channels);
    for_images(e, sizeof(T), [&](int64_t n) {
      const Affine affine(5, n, e.channels, weight, bias, scale, shift);
      const int64_t at = n * e.pixels * e.channels;
      const auto image = silu ? forward_image<true, T> : forward_image<false, T>;
      image(n, e, x.as<T>() + at, affine, eps, y.as<T>() + at, past, mean.as<A>(), rstd.as<A>());
    });
  });
}

void group_norm_backward(const View& dy, const View& x, const View& weight, const View& bias,
                         const View& scale, const View& shift, const View& mean, const View& rstd,
                         bool silu, View& dx, View& dweight, View& dbias, View& dscale,
                         View& dshift) {
  const GroupExtents e = checked_group_norm_backward(dy, x, weight, bias, scale, shift, mean, rstd,
                                                     dx, dweight, dbias, dscale, dshift);
  const int64_t channels = e.channels;
  double* dparameters =
      scratch<double>(0, (e.images + 1) * 2 * channels);  // of each image, then their sum
  dispatch_floating(x.dtype, "group_norm_backward", [&]<class T>() {
    using A = Accumulator<T>;
    const bool past = gradient_goes_past(dx, channels, silu);
    for_images(e, 2 * sizeof(T), [&](int64_t n) {
      const Affine affine(5, n, channels, weight, bias, scale, shift);
      const int64_t at = n * e.pixels * channels;
      double* sums = dparameters + n * 2 * channels;
      const auto image = silu ? backward_image<true, T> : backward_image<false, T>;
      image(e, dy.as<T>() + at, x.as<T>() + at, affine, mean.as<A>() + n * e.groups,
            rstd.as<A>() + n * e.groups, sums, dx ? dx.as<T>() + at : nullptr, past);
      // From gradients with respect to v to those of scale and shift, then to those of weight and
      // bias.
      double* dshift_values = sums;
      double* dscale_values = scratch<double>(6, channels);
      for (int64_t c = 0; c < channels; ++c)
        dscale_values[c] = affine.weight[c] * sums[channels + c] + affine.bias[c] * sums[c];
      write_values(dscale_values, n * channels, channels, dscale);
      write_values(dshift_values, n * channels, channels, dshift);
      for (int64_t c = 0; c < channels; ++c) {
        sums[c] *= affine.factor[c];
        sums[channels + c] *= affine.factor[c];
      }
    });
  });
  double* total = dparameters + e.images * 2 * channels;
  for (int64_t i = 0; i < 2 * channels; ++i) total[i] = 0;
  for (int64_t n = 0; n < e.images; ++n)
    for (int64_t i = 0; i < 2 * channels; ++i) total[i] += dparameters[n * 2 * channels + i];
  write_values(total, 0, channels, dbias);
  write_values(total + channels, 0, channels, dweight);
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
