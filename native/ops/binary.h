// Elementwise ops of two operands.
//
//   accumulate   into += add, the same shape and dtype: how gradients are summed
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(  //
    void accumulate(View& into, const View& add);)

namespace emulsion {

static inline void check_accumulate(const View& into, const View& add) {
  EMULSION_CHECK(into && add && alike(into, add), "accumulate: into ", dtype_name(into.dtype), ' ',
                 into.shape, " and add ", dtype_name(add.dtype), ' ', add.shape,
                 " must have the same shape and dtype");
  EMULSION_CHECK(into.dtype != DType::boolean, "accumulate: bool has no addition");
}

}  // namespace emulsion
