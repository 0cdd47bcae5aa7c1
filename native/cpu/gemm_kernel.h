// The innermost kernels of every product on the CPU: a tile of C in registers, one rank-1 update
// per step of the reduction. The tile is as large as the register file allows: 14 x 2 vectors of 32
// registers, 6 x 2 of 16; two loads of B and one broadcast per row feed two multiply-adds per row.
//
// Four forms:
//   packed  A is a panel [depth][rows], gathered, transposed or widened by its packer; steps of B
//           lie equally far apart, in a panel [depth][vectors·Vec::size] or, where there are 32
//           registers, in the rows of a matrix;
//   rows    A is pointers to rows that are contiguous along the reduction, read in place: one per
//           tap and pixel of a convolution, one per row of a matrix; B as in packed;
//   runs    A is steps that lie equally far apart, packed or the columns of a matrix; B is read in
//           place, in runs of rows, as the channels of an image's neighbouring pixels are;
//   chains  the same, added up in chains, since a long sum is as exact as they are short.
// The first three sum in the same order, so results do not depend on which of them ran.
#pragma once

#include "cpu/ahead.h"
#include "cpu/past.h"

namespace emulsion::cpu::EMULSION_LEVEL {

template <class T>
struct Tile {
  static constexpr int vector = Vec<T>::size;
#if defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int rows = 14;
#else
  static constexpr int rows = 6;
#endif
  static constexpr int columns = 2 * vector;
  static constexpr int size = rows * columns;
  // Whether a step takes long enough for the lines of a matrix to come from L2 meanwhile. Those of
  // a low tile are packed.
  static constexpr bool in_place = rows > 6;
};

// What is added to sums, if anything: rows `pitch` apart; 0: one row to all of them.
template <class T>
struct Addend {
  const T* from = nullptr;
  int64_t pitch = 0;
};

// Where sums go, to rows `pitch` apart, and what is added to them on their way, in this order.
template <class T>
struct Place {
  T* to = nullptr;
  int64_t pitch = 0;
  Addend<T> first = {}, second = {};
  bool past = false;  // past the caches; all of `to` is aligned to vectors then
};
// A tile in rows of Tile::columns. What is there is added to or, if not `accumulate`, set.
template <class T>
EMULSION_INLINE Place<T> in_tile(T* tile, bool accumulate) {
  return {tile, Tile<T>::columns, {accumulate ? tile : nullptr, Tile<T>::columns}};
}

// What a kernel asks for while it works (ahead.h): at each step one line, `apart` values from the
// one before, and, unless it works in chains, where a step of B is two lines also the one `beside`
// it. Asked for at once, as many lines as a tile needs would fill all of the core's buffers for
// misses, and it would wait. Where nothing is wanted, which is the default, a kernel that does not
// ask is picked: even for a line that is at hand that takes 3 % longer.
template <class T>
struct Ahead {
  const T* from = nullptr;
  int64_t apart = 0;
  int64_t beside = 0;

  EMULSION_INLINE bool asks() const { return apart != 0; }
};

// Steps of B lie ldb apart. rows in [1, Tile::rows], vectors in [1, 2]; columns beyond `vectors`
// are left alone. Low tiles ask for nothing: so many of them read a panel that the first, which
// waits for it, counts little.
template <class T>
using PackedKernel = void (*)(int64_t depth, const T* a, const T* b, int64_t ldb,
                              const Ahead<T>& ahead, const Place<T>& place);
template <class T>
PackedKernel<T> packed_kernel(int rows, int vectors, bool asks);

// a[segment][i] (segments of Tile::rows pointers) points to `length` elements; depth = segments ·
// length.
template <class T>
using RowsKernel = void (*)(int64_t segments, int64_t length, const T* const* a, const T* b,
                            int64_t ldb, const Ahead<T>& ahead, const Place<T>& place);
template <class T>
RowsKernel<T> rows_kernel(int rows, int vectors, bool asks);

// Steps [start, start + length) of the panel A meet the rows b, b + ldb, ... of B.
template <class T>
struct Run {
  int64_t start, length;
  const T* b;
};
// `offset` is added to each run's b. Steps of A lie lda apart; those that no run names count as
// zero.
template <class T>
using RunsKernel = void (*)(const Run<T>* runs, int64_t count, int64_t ldb, int64_t offset,
                            const T* a, int64_t lda, const Ahead<T>& ahead, const Place<T>& place);
template <class T>
RunsKernel<T> runs_kernel(int rows, int vectors, bool asks);

// The same in chains of additions that all begin at zero, of which runs [chains[i], chains[i + 1])
// are one. Where there are 32 registers, half of them hold the sum of the chains, and all together
// takes little longer than one chain; 16 are too few. rows in [1, ChainTile::rows].
template <class T>
struct ChainTile {
  static constexpr bool in_registers = Tile<T>::rows > 6;
  static constexpr int rows = in_registers ? Tile<T>::rows / 2 : Tile<T>::rows;
  static constexpr int columns = Tile<T>::columns;
  static constexpr int size = rows * columns;
};
template <class T>
using ChainsKernel = void (*)(const Run<T>* runs, const int64_t* chains, int64_t count, int64_t ldb,
                              int64_t offset, const T* a, int64_t lda, const Ahead<T>& ahead,
                              const Place<T>& place);
template <class T>
ChainsKernel<T> chains_kernel(int rows, int vectors, bool asks);

}  // namespace emulsion::cpu::EMULSION_LEVEL
