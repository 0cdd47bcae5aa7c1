// Softmax on the CPU. A tensor is [outer, n, inner] around its axis. For inner = 1 vectors run
// along the axis and end in a sum over their lanes; else a vector holds neighbouring series and its
// lanes never meet. Both are the same algorithm over a series of vectors, which stay in cache
// between its walks.
#include "ops/softmax.h"

#include <type_traits>

#include "cpu/math.h"
#include "cpu/norm.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// One series of n contiguous values.
template <class A>
struct Along {
  int64_t n;
  bool past;  // the result goes past the caches

  // Calls body(offset in the tensor, offset in a buffer, column) for every vector.
  template <class Body>
  EMULSION_INLINE void each(Body&& body) const {
    for_columns<A>(n, past, [&](int64_t c, auto column) { body(c, c, column); });
  }
  EMULSION_INLINE int64_t next() const { return n; }  // from series to series
  EMULSION_INLINE int64_t buffer() const { return n + Vec<A>::size; }
  EMULSION_INLINE Vec<A> all_sum(Vec<A> v) const { return Vec<A>(sum(v)); }
  EMULSION_INLINE Vec<A> all_max(Vec<A> v) const { return Vec<A>(max_lane(v)); }
};

// As many neighbouring series as a vector has lanes, or as the column has left.
template <class A, class Column>
struct Across {
  int64_t n, stride;
  Column column;
  bool past;

  template <class Body>
  EMULSION_INLINE void each(Body&& body) const {
    for (int64_t i = 0; i < n; ++i) body(i * stride, i * Vec<A>::size, column);
  }
  EMULSION_INLINE int64_t next() const { return Vec<A>::size; }
  EMULSION_INLINE int64_t buffer() const { return n * Vec<A>::size; }
  EMULSION_INLINE Vec<A> all_sum(Vec<A> v) const { return v; }
  EMULSION_INLINE Vec<A> all_max(Vec<A> v) const { return v; }
};

// Calls body(offset, series) for every series of a result, spread over the threads.
template <class A, class Body>
void for_series(const View& result, int64_t axis, Body&& body) {
  const Shape& shape = result.shape;
  const int axis_index = static_cast<int>(axis);
  const int64_t outer = shape.product(0, axis_index), n = shape[axis_index];
  const int64_t inner = shape.product(axis_index + 1, shape.rank());
  if (outer * n * inner == 0) return;
  constexpr int64_t lanes = Vec<A>::size, grain_values = 16384;
  const int64_t columns = inner == 1 ? 1 : (inner + lanes - 1) / lanes;
  const int64_t per_item = n * inner / columns;
  const bool past = runs_go_past(result, inner == 1 ? n : inner);
  parallel_for(outer * columns, grain_values / per_item + 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at = item / columns * n * inner + item % columns * lanes;
      const int64_t left = inner - item % columns * lanes;
      if (inner == 1)
        body(at, Along<A>{n, past});
      else if (left >= lanes)
        body(at, Across<A, WholeColumn<A>>{n, inner, {past}, past});
      else
        body(at, Across<A, PartColumn<A>>{n, inner, {left}, false});
    }
  });
}

template <class A, class T, class Series>
EMULSION_INLINE Vec<A> maximum(const T* x, const Series& series) {
  const Vec<A> lowest(-__builtin_inf());
  Vec<A> m = lowest;
  series.each([&](int64_t i, int64_t, auto column) {
    m = max(m, column.only(column.load(x + i), lowest));
  });
  return series.all_max(m);
}

}  // namespace

void softmax_forward(const View& x, int64_t axis, View& y) {
  check_softmax("softmax_forward", x, y, axis);
  dispatch_floating(x.dtype, "softmax_forward", [&]<class T>() {
    using A = Accumulator<T>;
    using V = Vec<A>;
    for_series<A>(y, axis, [&](int64_t at, const auto& series) {
      const T* from = x.as<T>() + at;
      T* to = y.as<T>() + at;
      // The exponentials wait for their sum in the result, or beside it where they would lose
      // digits or the result does not stay in the caches.
      const bool beside = !std::is_same_v<T, A> || series.past;
      A* exponentials = beside ? scratch<A>(0, series.buffer()) : nullptr;
      const V m = maximum<A>(from, series), zero = V::zero();
      V total = zero;
      series.each([&](int64_t i, int64_t b, auto column) {
        const V e = exp(column.load(from + i) - m);
        if (beside)
          e.store(exponentials + b);
        else
          column.store(e, to + i);
        // The next series comes while exponentials are computed.
        if (series.past) __builtin_prefetch(from + series.next() + i, 0, 2);
        total += column.only(e, zero);
      });
      const V inverse = V(A(1)) / series.all_sum(total);
      series.each([&](int64_t i, int64_t b, auto column) {
        const V e = beside ? V::load(exponentials + b) : column.load(to + i);
        column.store(e * inverse, to + i);
      });
    });
  });
}

void softmax_backward(const View& dy, const View& y, int64_t axis, View& dx) {
  check_softmax("softmax_backward", dy, y, axis);
  check_softmax("softmax_backward", y, dx, axis);
  dispatch_floating(y.dtype, "softmax_backward", [&]<class T>() {
    using A = Accumulator<T>;
    using V = Vec<A>;
    for_series<A>(dx, axis, [&](int64_t at, const auto& series) {
      const T *gradient = dy.as<T>() + at, *result = y.as<T>() + at;
      T* to = dx.as<T>() + at;
      V total = V::zero();
      series.each([&](int64_t i, int64_t, auto column) {
        total = fma(column.load(gradient + i), column.load(result + i), total);
      });
      const V dot = series.all_sum(total);
      series.each([&](int64_t i, int64_t, auto column) {
        column.store(column.load(result + i) * (column.load(gradient + i) - dot), to + i);
      });
    });
  });
}

void log_softmax_forward(const View& x, int64_t axis, View& y) {
  check_softmax("log_softmax_forward", x, y, axis);
  dispatch_floating(x.dtype, "log_softmax_forward", [&]<class T>() {
    using A = Accumulator<T>;
    using V = Vec<A>;
    for_series<A>(y, axis, [&](int64_t at, const auto& series) {
      const T* from = x.as<T>() + at;
      T* to = y.as<T>() + at;
      const V m = maximum<A>(from, series), zero = V::zero();
      V total = zero;
      series.each([&](int64_t i, int64_t, auto column) {
        total += column.only(exp(column.load(from + i) - m), zero);
      });
      const V log_sum = log(series.all_sum(total));
      series.each([&](int64_t i, int64_t, auto column) {
        column.store(column.load(from + i) - m - log_sum, to + i);
      });
    });
  });
}

void log_softmax_backward(const View& dy, const View& y, int64_t axis, View& dx) {
  check_softmax("log_softmax_backward", dy, y, axis);
  check_softmax("log_softmax_backward", y, dx, axis);
  dispatch_floating(y.dtype, "log_softmax_backward", [&]<class T>() {
    using A = Accumulator<T>;
    using V = Vec<A>;
    for_series<A>(dx, axis, [&](int64_t at, const auto& series) {
      const T *gradient = dy.as<T>() + at, *result = y.as<T>() + at;
      T* to = dx.as<T>() + at;
      V total = V::zero();
      series.each([&](int64_t i, int64_t, auto column) { total += column.load(gradient + i); });
      const V all = series.all_sum(total);
      series.each([&](int64_t i, int64_t, auto column) {
        column.store(column.load(gradient + i) - exp(column.load(result + i)) * all, to + i);
      });
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
