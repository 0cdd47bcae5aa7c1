// The pieces attention's passes are made of: rows of a head, panels with one row per vector lane,
// and the register tile that multiplies them. A panel holds 2 vectors of rows as [D][lanes].
#pragma once

#include <cmath>

#include "cpu/gemm_pack.h"
#include "cpu/loops.h"
#include "cpu/parallel.h"
#include "ops/attention.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace attention_tile {

// Rows of the register tile, two vectors wide: 14 sums and as many of the chains before in 32
// registers, or 12 in 16, where earlier chains wait in memory.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_rows = 7;
constexpr bool chains_in_registers = true;
#else
constexpr int tile_rows = 6;
constexpr bool chains_in_registers = false;
#endif
constexpr int64_t block_rows = 64;
// From so many values on a head's rows are read where they lie at every level.
constexpr int64_t wide = 128;

template <class T>
constexpr int64_t panel_lanes = 2 * Vec<T>::size;

// Panels that one walk over the other side's rows serves: the more, the fewer times rows come from
// far away or are copied; all of them stay in L2.
template <class T>
EMULSION_INLINE int64_t most_panels(int64_t D) {
  constexpr int64_t rows = 128, few = 4;
  return D < wide && rows > few * panel_lanes<T> ? rows / panel_lanes<T> : few;
}

// Scores are logarithms to base 2, whose powers cost less: they are scaled by log2(e) beside the
// scale of attention.
constexpr double log2_e = 1.44269504088896341;

// How scores come of products of queries and keys: times `factor`, which is positive, where they
// are used, since the largest of them is sought before; a sign goes with what lies in the lanes.
// What backward computes again has the roundings of forward, which weights of large scores hang on.
template <class T>
struct Scale {
  T sign, factor;

  Scale(double scale, bool uniform)
      : sign(static_cast<T>(uniform ? 0 : std::copysign(1, scale))),
        factor(static_cast<T>(std::abs(scale) * log2_e)) {}
};

using Sizes = AttentionSizes;

EMULSION_INLINE int64_t at_most(int64_t value, int64_t limit) {
  return value < limit ? value : limit;
}

// Which rows of a sequence take part, in order.
struct RowList {
  const int32_t* index;
  int64_t count;
  bool all;  // row i is i
};

// One head of a [N, length, K, D] tensor.
template <class Stored>
struct Head {
  Stored* data = nullptr;
  int64_t stride = 0;

  Head() = default;
  Head(const View& view, int64_t n, int64_t head)
      : data(view.as<Stored>() + (n * view.dim(1) * view.dim(2) + head) * view.dim(3)),
        stride(view.dim(2) * view.dim(3)) {}
  Stored* row(int64_t i) const { return data + i * stride; }
};

// Rows that take part on either side. Dropping masked keys here keeps every loop below free of
// masks.
class Rows {
 public:
  Rows(const View& mask, const Sizes& sizes) : sizes_(sizes), masked_(mask.present) {
    const int64_t longest = sizes.T > sizes.S ? sizes.T : sizes.S;
    identity_ = scratch<int32_t>(7, longest + (masked_ ? sizes.N * (sizes.S + 1) : 0));
    for (int64_t i = 0; i < longest; ++i) identity_[i] = static_cast<int32_t>(i);
    if (!masked_) return;
    counts_ = identity_ + longest;
    kept_ = counts_ + sizes.N;
    for (int64_t n = 0; n < sizes.N; ++n) {
      int32_t count = 0;
      for (int64_t s = 0; s < sizes.S; ++s)
        if (mask.as<uint8_t>()[n * sizes.S + s])
          kept_[n * sizes.S + count++] = static_cast<int32_t>(s);
      counts_[n] = count;
    }
  }

  RowList queries() const { return {identity_, sizes_.T, true}; }
  // All keys masked: all of them count alike, which a scale of zero expresses.
  bool uniform(int64_t n) const { return masked_ && counts_[n] == 0; }
  RowList keys(int64_t n) const {
    if (!masked_ || uniform(n)) return {identity_, sizes_.S, true};
    return {kept_ + n * sizes_.S, counts_[n], false};
  }

 private:
  Sizes sizes_;
  bool masked_;
  int32_t* identity_;
  int32_t* counts_ = nullptr;
  int32_t* kept_ = nullptr;
};

// A task's memory, handed out piece by piece.
template <class T>
class Workspace {
 public:
  explicit Workspace(int64_t count) : next_(scratch<T>(3, count)) {}
  T* take(int64_t count) {
    T* piece = next_;
    next_ += count;
    return piece;
  }

 private:
  T* next_;
};

// Calls body(row, vector) for all of a register tile.
template <int rows, int vectors, class Body>
EMULSION_INLINE void for_tile(Body&& body) {
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) body(i, j);
}

// c[i·ldc + lane] (+)= Σk A(i,k)·b[k·ldb + lane], with A(i,k) = a[i·lda + k] or, transposed,
// a[k·lda + i]. Each `chain` of a sum begins at zero: rounding errors grow with the length of a
// chain of additions. Where registers hold two, the first two chains run beside each other.
template <int rows, int vectors, bool transposed, bool accumulate, class T>
EMULSION_INLINE void multiply_tile(const T* a, int64_t lda, const T* b, int64_t ldb, int64_t depth,
                                   int64_t chain, T* c, int64_t ldc) {
  using V = Vec<T>;
  const int64_t step = transposed ? lda : 1;
  const auto clear = [](V(&sum)[rows][vectors]) EMULSION_STEP {
    for_tile<rows, vectors>([&](int i, int j) EMULSION_STEP { sum[i][j] = V::zero(); });
  };
  const auto add = [&](V(&sum)[rows][vectors], int64_t k) EMULSION_STEP {
    V columns[vectors];
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) columns[j] = V::load(b + k * ldb + j * V::size);
    const T* const from = a + k * step;
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const V factor(transposed ? from[i] : from[i * lda]);
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sum[i][j] = fma(factor, columns[j], sum[i][j]);
    }
  };
  const auto write = [&](const V(&values)[rows][vectors], bool add) EMULSION_STEP {
    for_tile<rows, vectors>([&](int i, int j) EMULSION_STEP {
      T* const to = c + i * ldc + j * V::size;
      (add ? values[i][j] + V::load(to) : values[i][j]).store(to);
    });
  };
  if constexpr (chains_in_registers) {
    V sum[rows][vectors], next[rows][vectors];
    clear(sum);
    clear(next);
    const int64_t second = depth - chain < chain ? depth - chain : chain;
    int64_t k = 0;
#pragma GCC unroll 2
    for (; k < second; ++k) add(sum, k), add(next, k + chain);
    for (; k < chain && k < depth; ++k) add(sum, k);
    const auto join = [&]() EMULSION_STEP {
      for_tile<rows, vectors>([&](int i, int j) EMULSION_STEP { sum[i][j] += next[i][j]; });
    };
    join();
    for (k = 2 * chain; k < depth;) {
      clear(next);
      const int64_t last = k + chain < depth ? k + chain : depth;
      for (; k < last; ++k) add(next, k);
      join();
    }
    write(sum, accumulate);
  } else {
    for (int64_t first = 0; first < depth || first == 0; first += chain) {
      const int64_t last = first + chain < depth ? first + chain : depth;
      V sum[rows][vectors];
      clear(sum);
      for (int64_t k = first; k < last; ++k) add(sum, k);
      write(sum, accumulate || first > 0);
      // Else GCC keeps c from chain to chain, in registers that it has to save for that.
      asm volatile("" ::: "memory");
    }
  }
}

template <int rows, int vectors, bool transposed, bool accumulate, class T>
void multiply_rest(int64_t count, const T* a, int64_t lda, const T* b, int64_t ldb, int64_t depth,
                   int64_t chain, T* c, int64_t ldc) {
  if constexpr (rows > 0) {
    if (count == rows)
      multiply_tile<rows, vectors, transposed, accumulate>(a, lda, b, ldb, depth, chain, c, ldc);
    else
      multiply_rest<rows - 1, vectors, transposed, accumulate>(count, a, lda, b, ldb, depth, chain,
                                                               c, ldc);
  }
}

// Called for every register tile.
struct Nothing {
  EMULSION_INLINE void operator()() const {}
};

template <int vectors, bool transposed, bool accumulate, class T, class Beside = Nothing>
EMULSION_INLINE void multiply(int64_t rows, const T* a, int64_t lda, const T* b, int64_t ldb,
                              int64_t depth, int64_t chain, T* c, int64_t ldc,
                              Beside&& beside = {}) {
  const int64_t step = transposed ? 1 : lda;
  // The last tiles are a row lower where that leaves none of a few rows, which would not fill the
  // multipliers.
  const int64_t tiles = (rows + tile_rows - 1) / tile_rows, missing = tiles * tile_rows - rows;
  const int64_t high = missing <= tiles ? tiles - missing : tiles - 1;
  int64_t i = 0;
  for (int64_t tile = 0; tile < high; ++tile, i += tile_rows, beside())
    multiply_tile<tile_rows, vectors, transposed, accumulate>(a + i * step, lda, b, ldb, depth,
                                                              chain, c + i * ldc, ldc);
  if (missing <= tiles)
    for (; i < rows; i += tile_rows - 1, beside())
      multiply_tile<tile_rows - 1, vectors, transposed, accumulate>(a + i * step, lda, b, ldb,
                                                                    depth, chain, c + i * ldc, ldc);
  else
    multiply_rest<tile_rows - 2, vectors, transposed, accumulate>(
        rows - i, a + i * step, lda, b, ldb, depth, chain, c + i * ldc, ldc);
}

// Rows that lie equally far apart.
template <class T>
struct RowTile {
  const T* data;
  int64_t stride;
};

// c[row][lane] = a[row]·b[:][lane]: [rows, D] x [D, lanes], of which `filled`, one vector or two,
// are wanted.
template <class T>
void dot_rows(int64_t rows, RowTile<T> a, int64_t D, const T* b, T* c, int64_t filled) {
  constexpr int64_t lanes = panel_lanes<T>, longest = 128;
  const int64_t half = D > 0 ? (D + 1) / 2 : 1, chain = half < longest ? half : longest;
  if (filled == lanes)
    multiply<2, false, false>(rows, a.data, a.stride, b, lanes, D, chain, c, lanes);
  else
    multiply<1, false, false>(rows, a.data, a.stride, b, lanes, D, chain, c, lanes);
}

constexpr int64_t weighted_chain = block_rows / 2;

// c[d][lane] (+)= Σrow a[row][d]·b[row][lane]: [rows, D]ᵀ x [rows, lanes], of which `filled` are
// wanted.
template <bool accumulate, class T, class Beside>
void add_weighted_rows(int64_t rows, RowTile<T> a, int64_t D, const T* b, T* c, int64_t filled,
                       Beside&& beside) {
  constexpr int64_t lanes = panel_lanes<T>;
  if (filled == lanes)
    multiply<2, true, accumulate>(D, a.data, a.stride, b, lanes, rows, weighted_chain, c, lanes,
                                  beside);
  else
    multiply<1, true, accumulate>(D, a.data, a.stride, b, lanes, rows, weighted_chain, c, lanes,
                                  beside);
}

// c[row][..width] (+)= Σlane a[row][lane]·b[lane][..width] over the first `used` lanes: [rows,
// lanes] x [lanes, width], with rows of whole vectors.
template <bool accumulate, class T>
void multiply_lanes(int64_t rows, int64_t used, const T* a, const T* b, int64_t width, T* c) {
  constexpr int64_t lanes = panel_lanes<T>;
  int64_t d = 0;
  for (; d + lanes <= width; d += lanes)
    multiply<2, false, accumulate>(rows, a, lanes, b + d, width, used, lanes, c + d, width);
  if (d < width)
    multiply<1, false, accumulate>(rows, a, lanes, b + d, width, used, lanes, c + d, width);
}

// Copies rows to [count][stride] in the arithmetic type, zeros after the first D.
template <class T, class Stored>
void gather_rows(const Head<const Stored>& from, const int32_t* index, int64_t count, int64_t D,
                 T* to, int64_t stride) {
  constexpr int64_t width = Vec<T>::size;
  for (int64_t i = 0; i < count; ++i, to += stride) {
    const Stored* row = from.row(index[i]);
    int64_t d = 0;
    for (; d + width <= D; d += width) Vec<T>::load(row + d).store(to + d);
    for (; d < D; ++d) to[d] = convert<T>(row[d]);
    for (; d < stride; ++d) to[d] = T(0);
  }
}

// Asks for the lines of rows that are needed next, a few at each call, so that none of them has to
// be waited for.
template <class Stored, bool for_writing = false>
class NextRows {
 public:
  NextRows() = default;  // none
  // Up to `count` rows of a list from `first` on, asked for in `calls` parts.
  NextRows(const Head<Stored>& from, const RowList& list, int64_t first, int64_t count, int64_t D,
           int64_t calls)
      : from_(from), index_(list.index + first), D_(D) {
    rows_ = list.count - first < count ? list.count - first : count;
    const int64_t lines = (D + cache_line<Stored> - 1) / cache_line<Stored>;
    share_ = rows_ > 0 ? (rows_ * lines + calls - 1) / calls : 0;
  }

  EMULSION_INLINE void operator()() {
    // Prefetching keeps what is not local in memory.
    const int32_t* index = index_;
    int64_t rows = rows_, at = at_;
    for (int64_t i = share_; i > 0 && rows > 0; --i) {
      __builtin_prefetch(from_.row(*index) + at, for_writing, 2);
      at += cache_line<Stored>;
      if (at < D_) continue;
      at = 0;
      ++index;
      --rows;
    }
    index_ = index, rows_ = rows, at_ = at;
  }

 private:
  Head<Stored> from_;
  const int32_t* index_ = nullptr;
  int64_t D_ = 0, rows_ = 0, share_ = 0, at_ = 0;
};

// Whether rows that lie so far apart begin in four sets of L1 or fewer, and drive each other out.
template <class Stored>
EMULSION_INLINE bool few_sets(int64_t stride) {
  return stride * static_cast<int64_t>(sizeof(Stored)) % 1024 == 0;
}

// Rows [first, first + count) of a list, as they lie, or copied to `copy`, which low tiles gain by,
// and rows in few sets: what does not fit in L1 is read once for every panel anyway, and the copy
// would only wait for it.
template <class T, class Stored>
RowTile<T> rows_of(const Head<const Stored>& from, const RowList& list, int64_t first,
                   int64_t count, int64_t D, T* copy) {
  if constexpr (__is_same(T, Stored))
    if (list.all && (D >= wide || (Tile<T>::in_place && !few_sets<Stored>(from.stride))))
      return {from.row(first), from.stride};
  gather_rows(from, list.index + first, count, D, copy, D);
  return {copy, D};
}

// Turns up to panel_lanes rows into lanes, [D][lanes], times factor; the other lanes become zero.
template <class T, class Stored>
void pack_lanes(const Head<const Stored>& from, const int32_t* index, int64_t count, int64_t D,
                T factor, T* to) {
  using V = Vec<T>;
  constexpr int lanes = static_cast<int>(panel_lanes<T>);
  const Stored* rows[lanes];
  for (int64_t lane = 0; lane < count; ++lane) rows[lane] = from.row(index[lane]);
  pack_transposed(rows, static_cast<int>(count), D, to, lanes);
  if (factor == T(1)) return;
  for (int64_t i = 0; i < D * lanes; i += V::size) (V::load(to + i) * V(factor)).store(to + i);
}

// Turns lanes back into rows, times a factor per lane.
template <class T, class Stored>
void unpack_lanes(const T* from, const Head<Stored>& to, const int32_t* index, int64_t count,
                  int64_t D, Vec<T> left, Vec<T> right) {
  using V = Vec<T>;
  constexpr int64_t lanes = panel_lanes<T>;
  for (int64_t first = 0; first < count; first += V::size) {
    const V factor = first == 0 ? left : right;
    for (int64_t d = 0; d < D; d += V::size) {
      V square[V::size];
#pragma GCC unroll 16
      for (int i = 0; i < V::size; ++i)
        square[i] = d + i < D ? V::load(from + (d + i) * lanes + first) * factor : V::zero();
      transpose<T>(square);
      const int64_t used = count - first < V::size ? count - first : V::size;
      for (int64_t lane = 0; lane < used; ++lane)
        store_up_to(square[lane], to.row(index[first + lane]) + d, D - d);
    }
  }
}

// Multiplies every row of a panel by one factor per lane.
template <class T>
void scale_lanes(T* data, int64_t rows, Vec<T> left, Vec<T> right) {
  constexpr int64_t width = Vec<T>::size;
  for (int64_t row = 0; row < rows; ++row, data += 2 * width) {
    (Vec<T>::load(data) * left).store(data);
    (Vec<T>::load(data + width) * right).store(data + width);
  }
}

template <class T>
void clear(T* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) data[i] = T(0);
}

}  // namespace attention_tile
}  // namespace emulsion::cpu::EMULSION_LEVEL
