// Packing: the copy that lays an operand out in the order in which the micro-kernels read it, and
// that transposes and widens 16-bit floats on its way. Transposes run through registers, one square
// of Vec::size rows at a time.
#pragma once

#include <utility>

#include "cpu/gemm_kernel.h"

namespace emulsion::cpu::EMULSION_LEVEL {

namespace detail {

template <class T, int... lane>
EMULSION_INLINE Vec<T> interleave_low(Vec<T> a, Vec<T> b, std::integer_sequence<int, lane...>) {
  constexpr int size = Vec<T>::size;
  return Vec<T>(
      __builtin_shufflevector(a.lanes, b.lanes, (lane % 2 ? size + lane / 2 : lane / 2)...));
}
template <class T, int... lane>
EMULSION_INLINE Vec<T> interleave_high(Vec<T> a, Vec<T> b, std::integer_sequence<int, lane...>) {
  constexpr int size = Vec<T>::size;
  return Vec<T>(__builtin_shufflevector(a.lanes, b.lanes,
                                        (size / 2 + (lane % 2 ? size + lane / 2 : lane / 2))...));
}

}  // namespace detail

// Transposes a square in place: log2(size) perfect shuffles of the row list.
template <class T>
EMULSION_INLINE void transpose(Vec<T> (&rows)[Vec<T>::size]) {
  constexpr int size = Vec<T>::size;
  using Sequence = std::make_integer_sequence<int, size>;
#pragma GCC unroll 4
  for (int stage = 1; stage < size; stage *= 2) {
    Vec<T> shuffled[size];
#pragma GCC unroll 8
    for (int i = 0; i < size / 2; ++i) {
      shuffled[2 * i] = detail::interleave_low(rows[i], rows[i + size / 2], Sequence{});
      shuffled[2 * i + 1] = detail::interleave_high(rows[i], rows[i + size / 2], Sequence{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < size; ++i) rows[i] = shuffled[i];
  }
}

// A whole or partial vector. Only the second form is safe at the end of a row.
template <class T, class Stored>
EMULSION_INLINE Vec<T> load_up_to(const Stored* from, int64_t count) {
  return count >= Vec<T>::size ? Vec<T>::load(from) : Vec<T>::load_partial(from, count);
}
template <class T, class Stored>
EMULSION_INLINE void store_up_to(Vec<T> value, Stored* to, int64_t count) {
  if (count >= Vec<T>::size)
    value.store(to);
  else
    value.store_partial(to, count);
}

// panel[p][i] = rows[i][p] for i < count, p < depth; 0 for i in [count, width). Writes up to
// Vec::size elements past the panel's end.
template <class T, class Stored>
void pack_transposed(const Stored* const* rows, int count, int64_t depth, T* panel, int width) {
  constexpr int size = Vec<T>::size;
  for (int first = 0; first < width; first += size) {
    const bool last = first + size >= width;
    for (int64_t p = 0; p < depth; p += size) {
      Vec<T> square[size];
#pragma GCC unroll 16
      for (int i = 0; i < size; ++i)
        square[i] =
            first + i < count ? load_up_to<T>(rows[first + i] + p, depth - p) : Vec<T>::zero();
      transpose<T>(square);
      const int64_t steps = depth - p < size ? depth - p : size;
      T* to = panel + p * width + first;
      // Whole stores overrun into the next step, which is written later, except where an earlier
      // pass has filled it already.
      if (last && first > 0 && width % size != 0)
        for (int64_t k = 0; k < steps; ++k) square[k].store_partial(to + k * width, width - first);
      else
        for (int64_t k = 0; k < steps; ++k) square[k].store(to + k * width);
    }
  }
}

// panel[p][i] = from[p·stride + i] for i < count, p < depth; what it holds at i in [count, width)
// is undefined. Writes up to Vec::size elements past the panel's end. `more`: further steps follow
// in memory.
template <class T, class Stored>
void pack_straight(const Stored* from, int64_t stride, int count, int64_t depth, T* panel,
                   int width, bool more = false) {
  constexpr int size = Vec<T>::size;
  // Whole vectors may run into the next step, which is there except at the end.
  const int vectors = (width + size - 1) / size, past = vectors * size - count;
  int64_t whole = past <= stride ? depth : 0;
  if (past > 0 && !more && whole > 0) --whole;
  const auto copy = [&](int vectors) __attribute__((always_inline)) {
    for (int64_t p = 0; p < whole; ++p, from += stride, panel += width)
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) Vec<T>::load(from + j * size).store(panel + j * size);
  };
  if (vectors == 1)
    copy(1);
  else if (vectors == 2)
    copy(2);
  else
    copy(vectors);
  for (int64_t p = whole; p < depth; ++p, from += stride, panel += width)
    for (int i = 0; i < width; i += size) load_up_to<T>(from + i, count - i).store(panel + i);
}

// Consecutive steps of a panel: rows of B, `apart` values from each other.
template <class T>
struct Steps {
  const T* from;
  int64_t apart;
};

// B [depth, columns] in panels of Tile::columns columns; the last has one vector's width if that
// holds its columns. They are packed, each [depth][Tile::columns]; but where `matrix` names B in
// its rows, `pitch` apart, those that whole vectors hold are read there, if tiles are tall.
template <class T>
struct PanelLayout {
  int64_t depth, columns;
  const T* matrix = nullptr;
  int64_t pitch = 0;

  EMULSION_INLINE int64_t count() const {
    return (columns + Tile<T>::columns - 1) / Tile<T>::columns;
  }
  // Panels from this one on are packed.
  EMULSION_INLINE int64_t first_packed() const {
    if (!Tile<T>::in_place || !matrix) return 0;
    return columns % Vec<T>::size == 0 ? count() : columns / Tile<T>::columns;
  }
  EMULSION_INLINE int64_t offset(int64_t panel) const {
    return (panel - first_packed()) * depth * Tile<T>::columns;
  }
  EMULSION_INLINE int valid(int64_t panel) const {
    const int64_t rest = columns - panel * Tile<T>::columns;
    return static_cast<int>(rest < Tile<T>::columns ? rest : Tile<T>::columns);
  }
  EMULSION_INLINE int vectors(int64_t panel) const { return valid(panel) > Vec<T>::size ? 2 : 1; }
  // Elements to allocate, with room for what the packers write past the end.
  EMULSION_INLINE int64_t size() const { return offset(count()) + Tile<T>::columns; }
  // A panel from step `start` on.
  EMULSION_INLINE Steps<T> steps(int64_t panel, int64_t start, const T* packed) const {
    if (panel < first_packed()) return {matrix + start * pitch + panel * Tile<T>::columns, pitch};
    const int64_t width = vectors(panel) * Vec<T>::size;
    return {packed + offset(panel) + start * width, width};
  }
};

// Whether all rows `stride` bytes apart fall into one set of L1, and into few of L2.
constexpr bool share_sets(int64_t stride) { return stride % 4096 == 0; }

// How B, row-major or transposed, is laid out for `rows` rows of A. Where rows of B begin within
// lines, a panel shares lines with its neighbours, which are fetched for each of them: of a matrix
// that leaves L2 meanwhile that costs more than to pack it. Where rows share sets, a panel's steps
// drive each other out between its tiles.
template <class T, class Stored>
EMULSION_INLINE PanelLayout<T> panel_layout(int64_t rows, int64_t depth, int64_t columns,
                                            const Stored* b, int64_t ldb, bool transposed) {
  if constexpr (__is_same(Stored, T)) {
    constexpr int64_t rows_that_pay = 512;
    const bool lines_apart = ldb % cache_line<T> == 0 && is_aligned(b);
    const int64_t bytes = depth * columns * static_cast<int64_t>(sizeof(T));
    if (!transposed && (lines_apart || bytes <= 2 * caches().core) &&
        !(rows >= rows_that_pay && share_sets(ldb * static_cast<int64_t>(sizeof(T)))))
      return {depth, columns, b, ldb};
  }
  return {depth, columns};
}

// One panel of B: b is [depth][ld] or, transposed, [columns][ld].
template <class T, class Stored>
void pack_panel(const Stored* b, int64_t ld, bool transposed, const PanelLayout<T>& layout,
                int64_t panel, T* to) {
  const int64_t column = panel * Tile<T>::columns;
  const int width = layout.vectors(panel) * Vec<T>::size, count = layout.valid(panel);
  if (!transposed) return pack_straight(b + column, ld, count, layout.depth, to, width);
  const Stored* rows[Tile<T>::columns];
  for (int i = 0; i < count; ++i) rows[i] = b + (column + i) * ld;
  pack_transposed(rows, count, layout.depth, to, width);
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
