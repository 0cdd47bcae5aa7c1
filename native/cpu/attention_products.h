// Attention's products of tiles of rows and panels of lanes, and the register tile that they share.
#pragma once

#include "cpu/attention_tile.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace attention_tile {

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

}  // namespace attention_tile
}  // namespace emulsion::cpu::EMULSION_LEVEL
