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

// Of a walk that computes much for each value: what lies two pages beyond `at`. Walks that compute
// little are as fast as memory without, and slower with it.
template <PrefetchPurpose purpose = for_reading, class Stored>
EMULSION_INLINE void prefetch_pages_ahead(const Stored* at) {
  constexpr int64_t pages = 2 * 4096 / static_cast<int64_t>(sizeof(Stored));
  __builtin_prefetch(at + pages, purpose, 2);
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
