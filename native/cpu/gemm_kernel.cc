// One instance per tile height and width, so that edges cost what they are worth: a height of 32
// runs as 11 + 11 + 10 rows, not as three times 14.
#include "cpu/gemm_kernel.h"

#include <utility>

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// The accumulators. All loops over it are unrolled completely: one that is not would put it on the
// stack.
template <class T, int rows, int vectors>
struct Accumulators {
  Vec<T> sums[rows][vectors];

  EMULSION_INLINE void clear() {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sums[i][j] = Vec<T>::zero();
  }

  template <class Element>
  EMULSION_INLINE void update(Element&& element, const T* b) {
    Vec<T> columns[vectors];
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) columns[j] = Vec<T>::load(b + j * Vec<T>::size);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const Vec<T> value(element(i));
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sums[i][j] = fma(value, columns[j], sums[i][j]);
    }
  }

  EMULSION_INLINE void add(const Addend<T>& addend) {
    const T* from = addend.from;
    if (!from) return;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i, from += addend.pitch)
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sums[i][j] += Vec<T>::load(from + j * Vec<T>::size);
  }

  EMULSION_INLINE void add(const Accumulators& others) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sums[i][j] += others.sums[i][j];
  }

  EMULSION_INLINE void finish(const Place<T>& place) {
    add(place.first);
    add(place.second);
    T* to = place.to;
    if (place.past) {
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i, to += place.pitch)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; ++j) sums[i][j].store_past(to + j * Vec<T>::size);
      return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i, to += place.pitch)
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sums[i][j].store(to + j * Vec<T>::size);
  }
};

// How far apart steps of B lie; low tiles find all of B packed.
template <class T, int vectors>
EMULSION_INLINE int64_t pitch_of(int64_t ldb) {
  return Tile<T>::in_place ? ldb : vectors * Vec<T>::size;
}

template <class T, int vectors>
EMULSION_INLINE void ask(const T*& next, const Ahead<T>& ahead) {
  __builtin_prefetch(next, 0, 2);
  if constexpr (vectors * Vec<T>::size > cache_line<T>)
    __builtin_prefetch(next + ahead.beside, 0, 2);
  next += ahead.apart;
}

template <class T, int rows, int vectors, bool asks>
void multiply_packed(int64_t depth, const T* a, const T* b, int64_t ldb, const Ahead<T>& ahead,
                     const Place<T>& place) {
  const T* next = ahead.from;
  Accumulators<T, rows, vectors> c;
  c.clear();
#pragma GCC unroll 4
  for (int64_t p = 0; p < depth; ++p) {
    c.update(
        [&](int i) __attribute__((always_inline)) { return a[i]; }, b);
    a += rows;
    b += pitch_of<T, vectors>(ldb);
    if constexpr (asks && Tile<T>::in_place) ask<T, vectors>(next, ahead);
  }
  c.finish(place);
}

// How many pointers to rows the general registers hold beside what a loop needs.
#if defined(__aarch64__)
constexpr int pointers_held = 16;
#else
constexpr int pointers_held = 7;
#endif

// Rows of a tile that lie equally far apart, step by step. An address is a base and an offset taken
// once, twice, four or eight times, so that five registers reach 14 rows.
template <class T>
class EvenRows {
 public:
  EMULSION_INLINE EvenRows(const T* first, int64_t apart)
      : first_(first), fifth_(first + 5 * apart), ninth_(first + 9 * apart), apart_(apart) {}

  // Whether rows are such. Their distance is that of the first two.
  EMULSION_INLINE static bool are(const T* const* rows, int count) {
    const int64_t apart = rows[1] - rows[0];
    bool even = true;
    for (int i = 2; i < count; ++i) even &= rows[i] - rows[i - 1] == apart;
    return even;
  }

  EMULSION_INLINE T operator[](int i) const {
    if (i == 3 || i == 6) return first_[apart3_ * (i / 3)];
    if (i <= 4 || i == 8) return first_[apart_ * i];
    if (i <= 7) return fifth_[apart_ * (i - 5)];
    return i == 12 ? ninth_[apart3_] : ninth_[apart_ * (i - 9)];
  }

  // Hides the registers from GCC, which would hold a pointer for each row instead and wait for
  // those that it has no register for.
  EMULSION_INLINE void advance() {
    ++first_, ++fifth_, ++ninth_;
    asm("" : "+r"(first_), "+r"(fifth_), "+r"(ninth_), "+r"(apart_), "+r"(apart3_));
  }

 private:
  const T *first_, *fifth_, *ninth_;
  int64_t apart_, apart3_ = 3 * apart_;
};

template <class T, int rows, int vectors, bool asks>
void multiply_rows(int64_t segments, int64_t length, const T* const* a, const T* b, int64_t ldb,
                   const Ahead<T>& ahead, const Place<T>& place) {
  const T* next = ahead.from;
  Accumulators<T, rows, vectors> c;
  c.clear();
  const auto step = [&](auto&& element) __attribute__((always_inline)) {
    c.update(element, b);
    b += pitch_of<T, vectors>(ldb);
    if constexpr (asks) ask<T, vectors>(next, ahead);
  };
  for (int64_t segment = 0; segment < segments; ++segment, a += Tile<T>::rows) {
    if constexpr (rows <= pointers_held) {
      const T* row[rows];
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) row[i] = a[i];
#pragma GCC unroll 4
      for (int64_t p = 0; p < length; ++p)
        step([&](int i) __attribute__((always_inline)) { return row[i][p]; });
    } else if (EvenRows<T>::are(a, rows)) {
      EvenRows<T> row(a[0], a[1] - a[0]);
#pragma GCC unroll 2
      for (int64_t p = 0; p < length; ++p, row.advance())
        step([&](int i) __attribute__((always_inline)) { return row[i]; });
    } else {
      // Read at every step, since GCC would hold some of them in registers for all of the loop and
      // has none left to load the others into: 4 to 8 % of the time.
      const T* const volatile* const row = a;
#pragma GCC unroll 2
      for (int64_t p = 0; p < length; ++p)
        step([&](int i) __attribute__((always_inline)) { return row[i][p]; });
    }
  }
  c.finish(place);
}

// `asked`: of how many vectors the lines it asks for at a step are; 0: it asks for none.
template <int asked, class T, int rows, int vectors>
EMULSION_INLINE void add_runs(Accumulators<T, rows, vectors>& c, const Run<T>* begin,
                              const Run<T>* end, int64_t ldb, int64_t offset, const T* panel,
                              int64_t lda, const T*& next, const Ahead<T>& ahead) {
  for (const Run<T>* run = begin; run < end; ++run) {
    const T* a = panel + run->start * lda;
    const T* b = run->b + offset;
#pragma GCC unroll 4
    for (int64_t p = 0; p < run->length; ++p) {
      c.update(
          [&](int i) __attribute__((always_inline)) { return a[i]; }, b);
      a += lda;
      b += ldb;
      if constexpr (asked > 0) ask<T, asked>(next, ahead);
    }
  }
}

template <class T, int rows, int vectors, bool asks>
void multiply_runs(const Run<T>* runs, int64_t count, int64_t ldb, int64_t offset, const T* panel,
                   int64_t lda, const Ahead<T>& ahead, const Place<T>& place) {
  const T* next = ahead.from;
  Accumulators<T, rows, vectors> c;
  c.clear();
  add_runs<asks ? vectors : 0>(c, runs, runs + count, ldb, offset, panel, lda, next, ahead);
  c.finish(place);
}

template <class T, int rows, int vectors, bool asks>
void multiply_chains(const Run<T>* runs, const int64_t* chains, int64_t count, int64_t ldb,
                     int64_t offset, const T* panel, int64_t lda, const Ahead<T>& ahead,
                     const Place<T>& place) {
  const T* next = ahead.from;
  Accumulators<T, rows, vectors> c;
  const auto add_chain = [&](int64_t i) __attribute__((always_inline)) {
    c.clear();
    add_runs<asks>(c, runs + chains[i], runs + chains[i + 1], ldb, offset, panel, lda, next, ahead);
  };
  if constexpr (ChainTile<T>::in_registers) {
    Accumulators<T, rows, vectors> total;
    total.clear();
    for (int64_t i = 0; i < count; ++i) {
      add_chain(i);
      total.add(c);
    }
    total.finish(place);
  } else {
    alignas(64) T total[Tile<T>::size];
    for (int64_t i = 0; i + 1 < count; ++i) {
      add_chain(i);
      c.finish(in_tile(total, i > 0));
    }
    add_chain(count - 1);
    if (count > 1) c.add({total, Tile<T>::columns});
    c.finish(place);
  }
}

// The kernel for a tile. Of{}.template operator()<rows, vectors, asks>() is a form's kernel for one
// of them.
template <class Of, int... heights>
auto pick(Of, int rows, int vectors, bool asks, std::integer_sequence<int, heights...>) {
  using Kernel = decltype(Of{}.template operator()<1, 1, false>());
  static constexpr Kernel table[][2][2] = {{{Of{}.template operator()<heights + 1, 1, false>(),
                                             Of{}.template operator()<heights + 1, 1, true>()},
                                            {Of{}.template operator()<heights + 1, 2, false>(),
                                             Of{}.template operator()<heights + 1, 2, true>()}}...};
  return table[rows - 1][vectors - 1][asks];
}

template <class T>
using Heights = std::make_integer_sequence<int, Tile<T>::rows>;
template <class T>
using ChainHeights = std::make_integer_sequence<int, ChainTile<T>::rows>;

}  // namespace

template <class T>
PackedKernel<T> packed_kernel(int rows, int vectors, bool asks) {
  constexpr auto of = []<int r, int v, bool a>() { return &multiply_packed<T, r, v, a>; };
  return pick(of, rows, vectors, asks, Heights<T>{});
}

template <class T>
RowsKernel<T> rows_kernel(int rows, int vectors, bool asks) {
  constexpr auto of = []<int r, int v, bool a>() { return &multiply_rows<T, r, v, a>; };
  return pick(of, rows, vectors, asks, Heights<T>{});
}

template <class T>
RunsKernel<T> runs_kernel(int rows, int vectors, bool asks) {
  constexpr auto of = []<int r, int v, bool a>() { return &multiply_runs<T, r, v, a>; };
  return pick(of, rows, vectors, asks, Heights<T>{});
}

template <class T>
ChainsKernel<T> chains_kernel(int rows, int vectors, bool asks) {
  constexpr auto of = []<int r, int v, bool a>() { return &multiply_chains<T, r, v, a>; };
  return pick(of, rows, vectors, asks, ChainHeights<T>{});
}

template PackedKernel<float> packed_kernel<float>(int, int, bool);
template PackedKernel<double> packed_kernel<double>(int, int, bool);
template RowsKernel<float> rows_kernel<float>(int, int, bool);
template RowsKernel<double> rows_kernel<double>(int, int, bool);
template RunsKernel<float> runs_kernel<float>(int, int, bool);
template RunsKernel<double> runs_kernel<double>(int, int, bool);
template ChainsKernel<float> chains_kernel<float>(int, int, bool);
template ChainsKernel<double> chains_kernel<double>(int, int, bool);

}  // namespace emulsion::cpu::EMULSION_LEVEL
