// What happened before what in a block. Every thread has a clock, taken from one counter that every
// synchronisation advances; an access is stamped with its thread and that thread's clock. A thread
// knows of an access, and may touch the same bytes, if a chain of synchronisations leads from there
// to here: everything in the block up to `floor`, in its own warp up to `warp_floor`, and of single
// threads what `knows` says (after barriers of some threads only).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace emulsion::emulator {

// clock << 10 | thread. Zero: nobody, ever.
using Stamp = uint64_t;
constexpr int thread_bits = 10;

using Knowledge = std::vector<uint64_t>;  // by thread: the clock up to which all is known

// A thread's place in that order.
struct Moment {
  uint64_t clock = 0, floor = 0, warp_floor = 0;
  uint16_t thread = 0;
  std::shared_ptr<const Knowledge> knows;

  Stamp stamp() const { return clock << thread_bits | thread; }

  bool knows_of(uint64_t when, uint32_t other) const {
    return when <= floor || other == thread || (other / 32 == thread / 32u && when <= warp_floor) ||
           (knows && when <= (*knows)[other]);
  }
  bool knows_of(Stamp access) const {
    return knows_of(access >> thread_bits, access & ((1u << thread_bits) - 1));
  }
};

}  // namespace emulsion::emulator
