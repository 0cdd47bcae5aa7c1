// Asking for memory before it is needed, into L2: L1 holds what is used now. A processor follows by
// itself what lies in a row, but not from page to page, and not what jumps.
#pragma once

#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {

template <class T>
constexpr int64_t cache_line = 64 / static_cast<int64_t>(sizeof(T));

enum PrefetchPurpose { for_reading, for_writing };

// The lines of a run of values.
template <PrefetchPurpose purpose = for_reading, class Stored>
EMULSION_INLINE void prefetch_run(const Stored* from, int64_t count) {
  for (int64_t i = 0; i < count; i += cache_line<Stored>) __builtin_prefetch(from + i, purpose, 2);
}

// What lies so many bytes beyond the place where a walk is.
template <int64_t bytes, PrefetchPurpose purpose = for_reading, class Stored>
EMULSION_INLINE void prefetch_beyond(const Stored* at) {
  __builtin_prefetch(at + bytes / static_cast<int64_t>(sizeof(Stored)), purpose, 2);
}
// Two pages of it, for a walk that computes much for each value. Elementwise operations compute
// little: they are as fast as memory without, and slower with it.
template <PrefetchPurpose purpose = for_reading, class Stored>
EMULSION_INLINE void prefetch_pages_ahead(const Stored* at) {
  prefetch_beyond<2 * 4096, purpose>(at);
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
