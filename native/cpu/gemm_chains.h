// Long reductions in chains of additions, each of which begins at zero: what gemm_deep.h and the
// filters' gradients of winograd_weight.h have in common.
#pragma once

#include "cpu/gemm_pack.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Steps at a time.
constexpr int64_t deep_block = 128;

// A is read where it lies unless so many panels of B are multiplied with it, and a panel of B
// unless it is multiplied with so many tiles of A: then they are packed, so that steps follow each
// other and stay in L1.
constexpr int64_t panels_that_pay = 8, tiles_that_pay = 24;

// The runs of a block of steps, cut into chains.
template <class T>
struct Chains {
  int64_t count = 0, length = 0;
  int64_t begin[deep_block + 1] = {};
  Run<T> runs[deep_block];

  // find(first, count, to) names the runs of steps first, first + 1, ...
  template <class Find>
  EMULSION_INLINE void cut(int64_t steps, int64_t chain, Find&& find) {
    count = (steps + chain - 1) / chain, length = chain;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t start = i * chain, rest = steps - start;
      Run<T>* const to = runs + begin[i];
      begin[i + 1] = begin[i] + find(start, rest < chain ? rest : chain, to);
      for (Run<T>* run = to; run < runs + begin[i + 1]; ++run) run->start += start;
    }
  }
  // The same of a copy of the columns from `offset` on in a panel `width` wide, where a step has
  // its own place.
  void copy(const Chains& from, int64_t pitch, int64_t offset, int64_t width, T* panel) {
    count = from.count, length = from.length;
    for (int64_t i = 0; i <= count; ++i) begin[i] = from.begin[i];
    for (int64_t i = 0; i < begin[count]; ++i) {
      const Run<T>& run = from.runs[i];
      T* const to = panel + run.start * width;
      pack_straight(run.b + offset, pitch, static_cast<int>(width), run.length, to,
                    static_cast<int>(width));
      runs[i] = {run.start, run.length, to};
    }
  }
  EMULSION_INLINE const Run<T>* last() const {
    return begin[count] > 0 ? runs + begin[count] - 1 : nullptr;
  }
};

// The products of a tile. Four chains are added up before they meet the others' sum, in `tile`,
// to which total.first may add what is there; the last four go on to `total`.
template <class T>
EMULSION_INLINE void multiply_chained(const Chains<T>& chains, int rows, int vectors, int64_t ldb,
                                      int64_t offset, const T* a, int64_t lda,
                                      const Ahead<T>& ahead, T* tile, const Place<T>& total) {
  constexpr int64_t together = 4;
  const ChainsKernel<T> kernel = chains_kernel<T>(rows, vectors, ahead.asks());
  for (int64_t i = 0; i < chains.count; i += together) {
    const int64_t rest = chains.count - i;
    Place<T> place = rest > together ? Place<T>{tile, Tile<T>::columns, total.first} : total;
    if (i > 0) place.first = {tile, Tile<T>::columns};
    const int64_t done = chains.length * i * ahead.apart;
    kernel(chains.runs, chains.begin + i, rest < together ? rest : together, ldb, offset, a, lda,
           {ahead.from + done, ahead.apart}, place);
  }
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
