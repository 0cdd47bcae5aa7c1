// Elementwise ops of two operands.
//
//   accumulate   into += add, the same shape and dtype: how gradients are summed
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(  //
    void accumulate(View& into, const View& add);)
