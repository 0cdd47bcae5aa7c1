// How a broadcast loop runs over its operands: adjacent dimensions that every operand walks alike
// are merged; the last one has a step of 0 or 1 per operand.
#pragma once

#include "core/view.h"

namespace emulsion {

template <int operands>
struct BroadcastPlan {
  Shape extents;                             // outermost first, at least one
  int64_t steps[operands][Shape::max_rank];  // in elements; 0 where the operand repeats

  // Every input must broadcast to `shape` by NumPy's rules.
  BroadcastPlan(const char* op, const Shape& shape, const View* const (&inputs)[operands]) {
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

  EMULSION_INLINE int64_t inner() const { return extents[extents.rank() - 1]; }
  EMULSION_INLINE bool repeats(int k) const { return steps[k][extents.rank() - 1] == 0; }
};

}  // namespace emulsion
