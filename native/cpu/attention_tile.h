// The pieces attention's passes are made of: rows of a head, and panels with one row per vector
// lane. A panel holds 2 vectors of rows as [D][lanes].
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

// Rows that lie equally far apart.
template <class T>
struct RowTile {
  const T* data;
  int64_t stride;
};

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
