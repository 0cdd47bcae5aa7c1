// Declares kernels once for every engine. The contract in a header of this folder holds on each
// device; the CPU engine is compiled once per instruction-set level, each in a namespace of its
// own.
//
// A kernel takes `const View&` for what it reads, `View&` for what it writes, plain scalars
// (double, int64_t, bool), `const Shape&` for short integer lists and `const Views&` for lists of
// tensors. Output memory is allocated by the caller and is uninitialised.
#pragma once

#include <vector>

#include "core/view.h"

namespace emulsion {
using Views = std::vector<View>;
}

#define EMULSION_KERNELS(...)         \
  namespace emulsion::cpu::baseline { \
  __VA_ARGS__                         \
  }                                   \
  namespace emulsion::cpu::avx2 {     \
  __VA_ARGS__                         \
  }                                   \
  namespace emulsion::cpu::avx512 {   \
  __VA_ARGS__                         \
  }                                   \
  namespace emulsion::cpu::neon {     \
  __VA_ARGS__                         \
  }                                   \
  namespace emulsion::cuda {          \
  __VA_ARGS__                         \
  }
