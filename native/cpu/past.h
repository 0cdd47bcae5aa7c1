// Results that are stored past the caches: they would leave them before anybody reads them, and
// their lines would be read from memory only to be written over.
#pragma once

#include "core/view.h"
#include "cpu/caches.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {

EMULSION_INLINE bool exceeds_caches(int64_t bytes) { return bytes >= caches().last / 2; }

// Only whole vectors that are aligned can go past the caches.
template <class T>
EMULSION_INLINE bool is_aligned(const T* to) {
  return reinterpret_cast<uintptr_t>(to) % vector_bytes == 0;
}

// Of a result in runs of `length` values, whose vectors begin with each run: these are whole lines.
EMULSION_INLINE bool runs_go_past(const View& y, int64_t length) {
  constexpr int64_t line = 64;
  return exceeds_caches(y.bytes()) && is_aligned(y.as<char>()) &&
         length * dtype_size(y.dtype) % line == 0;
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
