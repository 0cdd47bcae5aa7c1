// How a broadcast loop runs over its operands: adjacent dimensions that every operand walks alike
// are merged, the last one is the inner loop, with a step of 0 or 1 per operand, and the others are
// counted by an odometer. Inner rows too short for vectors are gathered into tiles first.
#pragma once

#include <tuple>
#include <utility>

#include "core/view.h"
#include "cpu/parallel.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// A stretch of an operand: consecutive elements (step 1) or one for all (step 0).
template <class T>
struct Piece {
  const T* from;
  int64_t step;
};

template <int operands>
struct Broadcast {
  static constexpr int64_t short_row = 24, tile = 512;

  Shape extents;                             // outermost first, at least one
  int64_t steps[operands][Shape::max_rank];  // in elements; 0 where the operand repeats

  // Every input must broadcast to `shape` by NumPy's rules.
  Broadcast(const char* op, const Shape& shape, const View* const (&inputs)[operands]) {
    const int rank = shape.rank();
    int64_t raw[operands][Shape::max_rank];
    for (int k = 0; k < operands; ++k) {
      const Shape& own = inputs[k]->shape;
      const int pad = rank - own.rank();
      bool fits = pad >= 0;
      int64_t step = 1;
      for (int d = rank - 1; d >= 0 && fits; --d) {
        const int64_t extent = d < pad ? 1 : own[d - pad];
        fits = extent == shape[d] || extent == 1;
        raw[k][d] = extent == 1 ? 0 : step;
        step *= extent;
      }
      EMULSION_CHECK(fits, op, ": shape ", own, " does not broadcast to ", shape);
    }
    for (int d = 0; d < rank; ++d) {
      if (shape[d] == 1) continue;
      const int last = extents.rank() - 1;
      bool merges = last >= 0;
      for (int k = 0; k < operands && merges; ++k) merges = steps[k][last] == raw[k][d] * shape[d];
      if (merges) {
        extents[last] *= shape[d];
        for (int k = 0; k < operands; ++k) steps[k][last] = raw[k][d];
      } else {
        extents.push_back(shape[d]);
        for (int k = 0; k < operands; ++k) steps[k][last + 1] = raw[k][d];
      }
    }
    if (extents.rank() == 0) {
      extents.push_back(1);
      for (int k = 0; k < operands; ++k) steps[k][0] = 0;
    }
  }

  // Calls body(first element of the result, length, piece of each operand...) until all is covered.
  template <class Body, class... T>
  void for_pieces(int64_t grain, Body&& body, const T*... from) const {
    [&]<size_t... k>(std::index_sequence<k...>) {
      parallel_for(extents.numel(), grain, [&](int64_t begin, int64_t end) {
        if (inner() >= short_row || extents.rank() == 1) {
          walk(begin, end, [&](int64_t first, int64_t length, const int64_t* offsets) {
            body(first, length, Piece<T>{from + offsets[k], repeats(k) ? 0 : 1}...);
          });
        } else {
          std::tuple<Tile<T>...> tiles;
          for (int64_t first = begin; first < end; first += tile) {
            const int64_t length = end - first < tile ? end - first : tile;
            body(first, length, gather(k, from, first, length, std::get<k>(tiles))...);
          }
        }
      });
    }
    (std::index_sequence_for<T...>{});
  }

  EMULSION_INLINE int64_t inner() const { return extents[extents.rank() - 1]; }
  EMULSION_INLINE bool repeats(int k) const { return steps[k][extents.rank() - 1] == 0; }

 private:
  template <class T>
  struct Tile {
    T values[tile];
  };

  // Calls row(first, length, offset of each operand) for each inner row, or part of one, of [begin,
  // end).
  template <class Row>
  EMULSION_INLINE void walk(int64_t begin, int64_t end, Row&& row) const {
    const int last = extents.rank() - 1;
    int64_t index[Shape::max_rank], offsets[operands] = {};
    for (int64_t d = last, rest = begin; d >= 0; rest /= extents[d], --d) {
      index[d] = rest % extents[d];
      for (int k = 0; k < operands; ++k) offsets[k] += index[d] * steps[k][d];
    }
    for (int64_t first = begin; first < end;) {
      const int64_t left = extents[last] - index[last],
                    length = left < end - first ? left : end - first;
      row(first, length, offsets);
      first += length;
      index[last] += length;
      for (int k = 0; k < operands; ++k) offsets[k] += length * steps[k][last];
      for (int d = last; d > 0 && index[d] == extents[d]; --d) {
        index[d] = 0;
        ++index[d - 1];
        for (int k = 0; k < operands; ++k) offsets[k] += steps[k][d - 1] - extents[d] * steps[k][d];
      }
    }
  }

  // The operand's elements for [first, first + length) of the result: itself where it does not
  // repeat.
  template <class T>
  EMULSION_INLINE Piece<T> gather(int k, const T* from, int64_t first, int64_t length,
                                  Tile<T>& into) const {
    bool dense = true;
    int64_t step = 1;
    for (int d = extents.rank() - 1; d >= 0; step *= extents[d], --d) dense &= steps[k][d] == step;
    if (dense) return {from + first, 1};
    T* to = into.values;
    const int64_t inner_step = steps[k][extents.rank() - 1];
    walk(first, first + length, [&](int64_t, int64_t count, const int64_t* offsets) {
      for (int64_t i = 0; i < count; ++i) *to++ = from[offsets[k] + i * inner_step];
    });
    return {into.values, 1};
  }
};

}  // namespace emulsion::cpu::EMULSION_LEVEL
