// The loop over a broadcast plan: the last dimension is the inner loop, the others are counted by
// an odometer. Inner rows too short for vectors are gathered into tiles first.
#pragma once

#include <tuple>
#include <utility>

#include "core/broadcast.h"
#include "cpu/parallel.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// A stretch of an operand: consecutive elements (step 1) or one for all (step 0).
template <class T>
struct Piece {
  const T* from;
  int64_t step;
};

template <int operands>
struct Broadcast : BroadcastPlan<operands> {
  using BroadcastPlan<operands>::extents, BroadcastPlan<operands>::steps;
  static constexpr int64_t short_row = 24, tile = 512;

  using BroadcastPlan<operands>::BroadcastPlan;

  // Calls body(first element of the result, length, piece of each operand...) until all is covered.
  template <class Body, class... T>
  void for_pieces(int64_t grain, Body&& body, const T*... from) const {
    [&]<size_t... k>(std::index_sequence<k...>) {
      parallel_for(extents.numel(), grain, [&](int64_t begin, int64_t end) {
        if (this->inner() >= short_row || extents.rank() == 1) {
          walk(begin, end, [&](int64_t first, int64_t length, const int64_t* offsets) {
            body(first, length, Piece<T>{from + offsets[k], this->repeats(k) ? 0 : 1}...);
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
