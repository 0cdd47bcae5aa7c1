// The processor's data caches, by whose sizes kernels plan what stays where while the rest passes
// by. They decide when something is computed, never in which order it is summed: no result depends
// on them.
#pragma once

#include <cstdint>

namespace emulsion::cpu {

struct Caches {
  int64_t core;  // bytes that a thread has for itself: its part of the second level
  int64_t last;  // bytes of the last level before memory, which cores may share
};

// As the system describes its first core, read once. EMULSION_CPU_CACHES=1024,32768 (core and last,
// in KiB) says otherwise; throws where that is malformed.
const Caches& caches();

}  // namespace emulsion::cpu
