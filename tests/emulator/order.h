// What happened before what in a block. Every thread has a clock, taken from one counter that every
// synchronisation advances; an access is stamped with its thread and that thread's clock. A thread
// knows of an access, and may touch the same bytes, if a chain of synchronisations leads from there
// to here: everything in the block up to `floor`, in its own warp up to `warp_floor`, and of single
// threads what `knows` says (after barriers of some threads only).
//
// Engines that copy or multiply beside the threads stand in the same order as agents: what they do
// is known to those who have waited for it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace emulsion::emulator {

// Agents come first, then threads: 64 is two warps of ids that no thread has.
constexpr uint32_t agents = 64;

// clock << id_bits | id. Zero: nobody, ever.
using Stamp = uint64_t;
constexpr int id_bits = 11;

struct Clock {
  uint64_t time = 0;
};
using Knowledge = std::vector<Clock>;  // by id: the clock up to which all is known

// Knowledge that several share and nobody changes. (Not std::shared_ptr: its code may come from the
// kernels' files, with their hooks.)
class Known {
 public:
  Known() = default;
  explicit Known(Knowledge knowledge) : shared_(new Shared{std::move(knowledge)}) {}
  Known(const Known& other) : shared_(other.shared_) {
    if (shared_) ++shared_->users;
  }
  Known(Known&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  Known& operator=(Known other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~Known() {
    if (shared_ && --shared_->users == 0) delete shared_;
  }

  explicit operator bool() const { return shared_ != nullptr; }
  bool operator==(const Known& other) const { return shared_ == other.shared_; }
  const Knowledge& operator*() const { return shared_->knowledge; }

 private:
  struct Shared {
    Knowledge knowledge;
    int users = 1;
  };
  Shared* shared_ = nullptr;
};

// A thread's place in that order.
struct Moment {
  uint64_t clock = 0, floor = 0, warp_floor = 0;
  uint16_t id = 0;
  Known knows;

  Stamp stamp() const { return clock << id_bits | id; }

  bool knows_of(uint64_t when, uint32_t other) const {
    return when <= floor || other == id || (other / 32 == id / 32u && when <= warp_floor) ||
           (knows && when <= (*knows)[other].time);
  }
  bool knows_of(Stamp access) const {
    return knows_of(access >> id_bits, access & ((1u << id_bits) - 1));
  }
};

}  // namespace emulsion::emulator
