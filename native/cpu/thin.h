// Products with at most four columns: a convolution to a picture's channels, a linear layer of one
// row. A register tile of gemm.h would leave most lanes idle; here the lanes run along the
// reduction: four rows share every weight, and their sums are folded across the lanes once, at the
// end.
#pragma once

#include "cpu/gemm.h"

namespace emulsion::cpu::EMULSION_LEVEL::thin {

constexpr int64_t most_columns = 4;
constexpr int64_t block = 4;     // rows that share a weight
constexpr int64_t stretch = 64;  // rows whose addresses are found at once

// B as [segment][vector][column][lane], zero beyond a segment's length. Uses scratch slot 0.
// value(column, segment, offset) gives one element.
template <class T, class Value>
const T* pack(int64_t columns, int64_t segments, int64_t length, Value&& value) {
  constexpr int64_t size = Vec<T>::size;
  const int64_t vectors = (length + size - 1) / size;
  T* const to = scratch<T>(0, segments * vectors * columns * size);
  for (int64_t segment = 0; segment < segments; ++segment)
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t c = 0; c < vectors * size; ++c)
        to[((segment * vectors + c / size) * columns + column) * size + c % size] =
            c < length ? convert<T>(value(column, segment, c)) : T(0);
  return to;
}

// Lane i becomes the sum of the lanes of vectors[i]: log2(size) rounds of folding pairs.
template <class T>
EMULSION_INLINE Vec<T> fold(Vec<T> (&vectors)[Vec<T>::size]) {
  using Sequence = std::make_integer_sequence<int, Vec<T>::size>;
#pragma GCC unroll 4
  for (int half = Vec<T>::size / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i)
      vectors[i] = detail::interleave_low(vectors[i], vectors[i + half], Sequence{}) +
                   detail::interleave_high(vectors[i], vectors[i + half], Sequence{});
  return vectors[0];
}

// tile [block][Tile::columns]: what `block` rows sum up; table [segment][stretch]: where they read;
// next: what later rows will, `block` times `length` values that are asked for meanwhile, since a
// processor's own prefetchers do not follow reads that jump from tap to tap.
template <class T, int columns, class Stored>
void multiply_block(const Stored* const* table, int64_t segments, int64_t length, const T* b,
                    const Stored* next, T* tile) {
  using V = Vec<T>;
  constexpr int count = block * columns, groups = (count + V::size - 1) / V::size;
  V sums[groups * V::size];
#pragma GCC unroll 16
  for (int i = 0; i < groups * V::size; ++i) sums[i] = V::zero();
  for (int64_t segment = 0; segment < segments; ++segment, table += stretch) {
    if (segment < block && segments > block) prefetch_run(next + segment * length, length);
    for (int64_t c = 0; c < length; c += V::size, b += columns * V::size) {
#pragma GCC unroll 4
      for (int i = 0; i < block; ++i) {
        V x = load_up_to<T>(table[i] + c, length - c);
        keep_in_register(x);
#pragma GCC unroll 4
        for (int k = 0; k < columns; ++k)
          sums[i * columns + k] = fma(x, V::load(b + k * V::size), sums[i * columns + k]);
      }
    }
  }
  T folded[groups * V::size];
#pragma GCC unroll 2
  for (int group = 0; group < groups; ++group) {
    V part[V::size];
#pragma GCC unroll 16
    for (int i = 0; i < V::size; ++i) part[i] = sums[group * V::size + i];
    fold(part).store(folded + group * V::size);
  }
  for (int i = 0; i < block; ++i)
    for (int k = 0; k < columns; ++k) tile[i * Tile<T>::columns + k] = folded[i * columns + k];
}

// C [count][columns] = A · B through epilogue(tile, row, rows, 0, columns), as multiply_parallel's.
// A names its rows by `walk`, as the sources of gemm_deep.h do, in `segments` of `length`.
template <class T, class Source, class Epilogue>
void multiply(const Source& a, const T* b, int64_t columns, int64_t count, Epilogue&& epilogue) {
  using Stored = typename Source::Element;
  using Kernel = void (*)(const Stored* const*, int64_t, int64_t, const T*, const Stored*, T*);
  constexpr Kernel kernels[most_columns] = {
      multiply_block<T, 1, Stored>, multiply_block<T, 2, Stored>, multiply_block<T, 3, Stored>,
      multiply_block<T, 4, Stored>};
  const Kernel kernel = kernels[columns - 1];
  const int64_t stretches = (count + stretch - 1) / stretch;
  const int64_t ahead = stretch * a.pitch();
  const int64_t work = stretch * a.segments * a.length * columns;
  parallel_for(stretches, 1 + 262144 / (work + 1), [&](int64_t begin, int64_t end) {
    const Stored** const table = scratch<const Stored*>(1, a.segments * stretch);
    T tile[block * Tile<T>::columns] = {};
    for (int64_t at = begin; at < end; ++at) {
      const int64_t first = at * stretch;
      const int64_t rows = count - first < stretch ? count - first : stretch;
      for (int64_t segment = 0; segment < a.segments; ++segment) {
        const Stored** const to = table + segment * stretch;
        a.walk(first, rows, segment, 0, to);
        for (int64_t i = rows; i % block != 0; ++i) to[i] = to[rows - 1];
      }
      for (int64_t i = 0; i < rows; i += block) {
        // Taps come in either order; the one that lies furthest is the first to reach new memory.
        const Stored* const first_tap = table[i];
        const Stored* const last_tap = table[(a.segments - 1) * stretch + i];
        const Stored* const next = (first_tap < last_tap ? last_tap : first_tap) + ahead;
        kernel(table + i, a.segments, a.length, b, next, tile);
        const int64_t left = rows - i;
        epilogue(tile, first + i, static_cast<int>(left < block ? left : block), 0,
                 static_cast<int>(columns));
      }
    }
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL::thin
