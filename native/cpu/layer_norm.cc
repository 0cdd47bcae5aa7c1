// Layer norm on the CPU: a row is read from memory once and walked from the first-level cache,
// forward for its centre, its deviations and the result. Backward gathers dweight and dbias per
// chunk of rows on the way.
#include "ops/layer_norm.h"

#include "cpu/norm.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Mean, as a rounded centre and the rest of it, and rstd of a row.
template <class A>
struct RowStatistics {
  A center;
  double rest, rstd;
};

template <class T, class A = Accumulator<T>>
RowStatistics<A> row_statistics(const T* x, int64_t channels, double eps) {
  using V = Vec<A>;
  V total = V::zero();
  for_columns<A>(channels, [&](int64_t c, auto column) { total += column.load(x + c); });
  const double share = 1.0 / static_cast<double>(channels);
  const A center = static_cast<A>(static_cast<double>(sum(total)) * share);
  V first = V::zero(), second = V::zero();
  for_columns<A>(channels, [&](int64_t c, auto column) {
    const V deviation = column.only(column.load(x + c) - V(center), V::zero());
    first += deviation;
    second = fma(deviation, deviation, second);
  });
  const double rest = static_cast<double>(sum(first)) * share;
  const double variance = static_cast<double>(sum(second)) * share - rest * rest;
  return {center, rest, 1.0 / __builtin_sqrt((variance < 0 ? 0.0 : variance) + eps)};
}

template <class T, class A = Accumulator<T>>
void forward_row(const T* x, int64_t channels, const A* weight, const A* bias,
                 const RowStatistics<A>& s, T* y, bool past) {
  using V = Vec<A>;
  const V center(s.center), rstd(static_cast<A>(s.rstd)), shift(static_cast<A>(-s.rest * s.rstd));
  for_columns<A>(channels, past, [&](int64_t c, auto column) {
    const V normal = fma(column.load(x + c) - center, rstd, shift);
    column.store(fma(normal, V::load(weight + c), V::load(bias + c)), y + c);
  });
}

// dweight, dbias: accumulators of this chunk; dx: null if not wanted.
template <class T, class A = Accumulator<T>>
void backward_row(const T* dy, const T* x, int64_t channels, const A* weight, A mean, A rstd,
                  A* dweight, A* dbias, T* dx, bool past) {
  using V = Vec<A>;
  const V center(mean), r(rstd);
  V s1 = V::zero(), s2 = V::zero();  // Σ g, Σ g·x̂ with g = dy·weight
  for_columns<A>(channels, [&](int64_t c, auto column) {
    const V d = column.load(dy + c), normal = (column.load(x + c) - center) * r;
    const V g = d * V::load(weight + c);
    s1 += g;
    s2 = fma(g, normal, s2);
    fma(d, normal, V::load(dweight + c)).store(dweight + c);
    (V::load(dbias + c) + d).store(dbias + c);
  });
  if (!dx) return;
  const V mean1(sum(s1) / static_cast<A>(channels)), mean2(sum(s2) / static_cast<A>(channels));
  for_columns<A>(channels, past, [&](int64_t c, auto column) {
    const V normal = (column.load(x + c) - center) * r;
    const V g = column.load(dy + c) * V::load(weight + c);
    column.store((g - fma(normal, mean2, mean1)) * r, dx + c);
  });
}

}  // namespace

void layer_norm_forward(const View& x, const View& weight, const View& bias, double eps, View& y,
                        View& mean, View& rstd) {
  const LayerExtents e = checked_layer_norm_forward(x, weight, bias, y, mean, rstd);
  dispatch_floating(x.dtype, "layer_norm_forward", [&]<class T>() {
    using A = Accumulator<T>;
    const int64_t width = padded(e.channels);
    A* parameters = scratch<A>(0, 2 * width);
    for (int64_t i = 0; i < 2 * width; ++i) parameters[i] = 0;
    read_values(weight, 0, e.channels, A(1), parameters);
    read_values(bias, 0, e.channels, A(0), parameters + width);
    const bool past = runs_go_past(y, e.channels);
    parallel_for(e.rows, 1 + 8192 / e.channels, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* from = x.as<T>() + row * e.channels;
        const auto statistics = row_statistics(from, e.channels, eps);
        mean.as<A>()[row] =
            static_cast<A>(static_cast<double>(statistics.center) + statistics.rest);
        rstd.as<A>()[row] = static_cast<A>(statistics.rstd);
        forward_row(from, e.channels, parameters, parameters + width, statistics,
                    y.as<T>() + row * e.channels, past);
      }
    });
  });
}

void layer_norm_backward(const View& dy, const View& x, const View& weight, const View& mean,
                         const View& rstd, View& dx, View& dweight, View& dbias) {
  const LayerExtents e = checked_layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  dispatch_floating(x.dtype, "layer_norm_backward", [&]<class T>() {
    using A = Accumulator<T>;
    const int64_t width = padded(e.channels), chunks = chunk_count(e.rows, e.channels);
    A* gain = scratch<A>(0, width);
    for (int64_t i = 0; i < width; ++i) gain[i] = 0;
    read_values(weight, 0, e.channels, A(1), gain);
    A* partial = scratch<A>(1, chunks * 2 * width);  // [chunk][dweight, dbias][C]
    const bool past = dx && runs_go_past(dx, e.channels);
    for_chunks(e.rows, e.channels, false, [&](int64_t chunk, int64_t first, int64_t rows) {
      A* sums = partial + chunk * 2 * width;
      for (int64_t i = 0; i < 2 * width; ++i) sums[i] = 0;
      for (int64_t row = first; row < first + rows; ++row) {
        const int64_t at = row * e.channels;
        backward_row(dy.as<T>() + at, x.as<T>() + at, e.channels, gain, mean.as<A>()[row],
                     rstd.as<A>()[row], sums, sums + width, dx ? dx.as<T>() + at : nullptr, past);
      }
    });
    if (!dweight && !dbias) return;
    double* total = scratch<double>(2, 2 * width);
    for (int64_t i = 0; i < 2 * width; ++i) total[i] = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int64_t i = 0; i < 2 * width; ++i)
        total[i] += static_cast<double>(partial[chunk * 2 * width + i]);
    write_values(total, 0, e.channels, dweight);
    write_values(total + width, 0, e.channels, dbias);
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
