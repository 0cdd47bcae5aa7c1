// What the normalisations share: parameters of any dtype, walking rows of channels by vectors, and
// moments that keep their digits when the mean is large against the deviation.
//
// A tensor is seen as rows of `channels` contiguous values and cut into chunks of rows whose size
// depends on the number of channels only: results do not depend on the number of threads. Chunks
// are merged in double, in order.
#pragma once

#include "cpu/ahead.h"
#include "cpu/parallel.h"
#include "cpu/past.h"
#include "ops/checks.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Accumulators and coefficients are padded to whole vectors of any level and dtype.
EMULSION_INLINE int64_t padded(int64_t channels) { return (channels + 15) / 16 * 16; }

// Values [offset, offset + count) of a floating tensor; `otherwise` where it is absent.
template <class A>
void read_values(const View& view, int64_t offset, int64_t count, A otherwise, A* to) {
  if (!view) {
    for (int64_t i = 0; i < count; ++i) to[i] = otherwise;
    return;
  }
  dispatch_floating(view.dtype, "norm", [&]<class T>() {
    const T* from = view.as<T>() + offset;
    for (int64_t i = 0; i < count; ++i) to[i] = convert<A>(from[i]);
  });
}

// Does nothing for an absent tensor.
template <class A>
void write_values(const A* from, int64_t offset, int64_t count, View& view) {
  if (!view) return;
  dispatch_floating(view.dtype, "norm", [&]<class T>() {
    T* to = view.as<T>() + offset;
    for (int64_t i = 0; i < count; ++i) to[i] = convert<T>(from[i]);
  });
}

// A vector column of a row: whole, or the last one with fewer channels than lanes. `only` replaces
// what is beyond the row, which loads as zero. Whole columns may go past the caches.
template <class A>
struct WholeColumn {
  bool past = false;
  EMULSION_INLINE Vec<A> only(Vec<A> value, Vec<A>) const { return value; }
  template <class T>
  EMULSION_INLINE Vec<A> load(const T* from) const {
    return Vec<A>::load(from);
  }
  template <class T>
  EMULSION_INLINE void store(Vec<A> value, T* to) const {
    if constexpr (__is_same(T, A))
      if (past) return value.store_past(to);
    value.store(to);
  }
};
template <class A>
struct PartColumn {
  int64_t count;
  EMULSION_INLINE Vec<A> only(Vec<A> value, Vec<A> otherwise) const {
    Vec<A> lane;
    for (int i = 0; i < Vec<A>::size; ++i) lane.lanes[i] = static_cast<A>(i);
    return select(lane < Vec<A>(static_cast<A>(count)), value, otherwise);
  }
  template <class T>
  EMULSION_INLINE Vec<A> load(const T* from) const {
    return Vec<A>::load_partial(from, count);
  }
  template <class T>
  EMULSION_INLINE void store(Vec<A> value, T* to) const {
    value.store_partial(to, count);
  }
};

// Calls body(c, column) for every vector column of a row.
template <class A, class Body>
EMULSION_INLINE void for_columns(int64_t channels, bool past, Body&& body) {
  int64_t c = 0;
  for (; c + Vec<A>::size <= channels; c += Vec<A>::size) body(c, WholeColumn<A>{past});
  if (c < channels) body(c, PartColumn<A>{channels - c});
}
template <class A, class Body>
EMULSION_INLINE void for_columns(int64_t channels, Body&& body) {
  for_columns<A>(channels, false, body);
}

// Calls body(row, count) for blocks of rows, where count is a constant. Rows are walked one by one,
// in the order in which they lie in memory: that is what the prefetchers of a processor follow.
// Short rows go four at a time, for what a visit to their accumulators costs.
template <int n>
struct Count {
  static constexpr int value = n;
};
template <class Body>
EMULSION_INLINE void for_row_blocks(int64_t rows, int64_t channels, Body&& body) {
  constexpr int64_t short_row = 64;
  int64_t row = 0;
  if (channels < short_row)
    for (; row + 4 <= rows; row += 4) body(row, Count<4>{});
  for (; row < rows; ++row) body(row, Count<1>{});
}

// Rows of a chunk: about 128 KB of float32, and few enough for float32 sums within a chunk.
EMULSION_INLINE int64_t rows_per_chunk(int64_t channels) {
  const int64_t rows = 32768 / channels / 4 * 4;
  return rows < 16 ? 16 : rows > 256 ? 256 : rows;
}

// Calls body(chunk, first_row, rows) for the chunks of a tensor, spread over the threads.
// `backwards` makes each thread start with the rows that it saw last in the walk before: they are
// still in its cache.
template <class Body>
void for_chunks(int64_t rows, int64_t channels, bool backwards, Body&& body) {
  const int64_t step = rows_per_chunk(channels);
  parallel_for((rows + step - 1) / step, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t chunk = backwards ? begin + end - 1 - i : i;
      const int64_t first = chunk * step;
      body(chunk, first, rows - first < step ? rows - first : step);
    }
  });
}

EMULSION_INLINE int64_t chunk_count(int64_t rows, int64_t channels) {
  const int64_t step = rows_per_chunk(channels);
  return (rows + step - 1) / step;
}

// Mean and Σ(x - mean)² of each channel over a chunk's rows, in one walk over deviations from a
// centre, the mean of the first sixteen rows. Whatever the values are, no mean of m of n values is
// farther from theirs than √(n/m) deviations: the sums, which correct the centre, keep their
// digits.
template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, double* mean, double* square) {
  using A = Accumulator<T>;
  using V = Vec<A>;
  const int64_t width = padded(channels), first_rows = rows < 16 ? rows : 16;
  A* center = scratch<A>(7, 3 * width);
  A* residual = center + width;
  A* squares = residual + width;
  for (int64_t c = 0; c < 3 * width; ++c) center[c] = 0;
  const V inverse(A(1) / static_cast<A>(first_rows));
  for_columns<A>(channels, [&](int64_t c, auto column) {
    V total = V::zero();
    for (int64_t row = 0; row < first_rows; ++row) total += column.load(x + row * channels + c);
    (total * inverse).store(center + c);
  });
  for_row_blocks(rows, channels, [&](int64_t row, auto count) {
    const T* from = x + row * channels;
    for_columns<A>(channels, [&](int64_t c, auto column) {
      prefetch_pages_ahead(from + c);
      const V at = V::load(center + c);
      V first = V::load(residual + c), second = V::load(squares + c);
      for (int r = 0; r < count.value; ++r) {
        const V deviation = column.load(from + r * channels + c) - at;
        first += deviation;
        second = fma(deviation, deviation, second);
      }
      first.store(residual + c);
      second.store(squares + c);
    });
  });
  const double share = 1.0 / static_cast<double>(rows);
  for (int64_t c = 0; c < channels; ++c) {
    const double shift = static_cast<double>(residual[c]) * share;
    mean[c] = static_cast<double>(center[c]) + shift;
    square[c] = static_cast<double>(squares[c]) - shift * static_cast<double>(residual[c]);
  }
}

// Chan's merge of moments over n values (mean, square: [width]) with those over m more.
EMULSION_INLINE void merge_moments(double n, double m, int64_t width, const double* other_mean,
                                   const double* other_square, double* mean, double* square) {
  const double share = m / (n + m);
  for (int64_t i = 0; i < width; ++i) {
    const double delta = other_mean[i] - mean[i];
    mean[i] += delta * share;
    square[i] += other_square[i] + delta * delta * (n * share);
  }
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
