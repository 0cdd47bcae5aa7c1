// Dispatch by the width of an element, for kernels that move values without computing with them.
#pragma once

#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Calls body.template operator()<T>() with the unsigned integer type of the dtype's size.
template <class Body>
EMULSION_INLINE void dispatch_width(DType dtype, Body&& body) {
  switch (dtype_size(dtype)) {
    case 1: return body.template operator()<uint8_t>();
    case 2: return body.template operator()<uint16_t>();
    case 4: return body.template operator()<uint32_t>();
    default: return body.template operator()<uint64_t>();
  }
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
