// The state of a running block, for the emulator's own files.
#pragma once

#include <string>
#include <vector>

#include "block.h"
#include "fiber.h"
#include "memory.h"
#include "order.h"
#include "shared.h"

namespace emulsion::emulator {

constexpr int warp_size = 32;

struct Copy {
  void* to;
  const void* from;
  uint32_t bytes;
  bool valid;
  const void* site;
};

struct Group {
  uint32_t end;  // of its copies
};

struct Thread {
  void* stack = nullptr;  // where it stopped
  const char* stack_begin = nullptr;
  uint3 index{};
  int number = 0;
  bool done = false;
  Moment now;
  const char* waits_for = nullptr;
  const void* waits_at = nullptr;
  std::vector<Copy> copies;            // asked for and not delivered, oldest first
  std::vector<Group> groups;           // committed ones
  uint32_t delivered = 0, closed = 0;  // copies and groups that have been
};

// A meeting of lanes under way.
struct Meeting {
  Meeting(const void* site, uint32_t mask) : site(site), mask(mask) {}
  const void* site;
  uint32_t mask, arrived = 0;
  void* lanes[warp_size];  // of those that have arrived
};

struct Warp {
  uint32_t runnable = 0, at_barrier = 0, live = 0;
  std::vector<Meeting> meetings;
};

struct Block {
  const char* op = nullptr;
  const Call* call = nullptr;
  dim3 grid, dimensions;
  uint3 index{};
  uint32_t number = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  uint32_t ready = 0;  // warps with runnable lanes
  int live = 0;
  int at_barrier = 0;
  const void* barrier_site = nullptr;
  bool computing = false;  // a collective: the last lane acts for all
  Launch* launch = nullptr;
  std::string error;
};

// One per queue thread.
struct Machine {
  GlobalMemory& global = global_memory();
  StackPool stacks;
  SharedMemory shared;
  Block block;
  uint64_t clock = 1;
  uint64_t random = 0x9e3779b97f4a7c15ull;
  void* scheduler = nullptr;

  Machine();
  uint32_t roll(uint32_t below) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return static_cast<uint32_t>((random >> 32) * below >> 32);
  }
};

// Of this queue thread; null where no kernel runs. The model spares the hooks a call.
#define EMULSION_FAST_TLS __attribute__((tls_model("initial-exec")))
extern thread_local constinit Thread* current EMULSION_FAST_TLS;
extern thread_local constinit Machine* machine EMULSION_FAST_TLS;

// Templates of the standard library exist once in a program, and it may be the kernels' files that
// they come from, with hooks: what is not made of this emulator's own types runs as host code.
class AsHost {
 public:
  AsHost() { current = nullptr; }
  ~AsHost() { current = thread_; }

 private:
  Thread* thread_ = current;
};

inline Warp& warp_of(const Thread& thread) {
  return machine->block.warps[static_cast<size_t>(thread.number / warp_size)];
}

// A load or store of the running thread.
void access(const void* pointer, size_t bytes, Kind kind, const void* site);
template <size_t bytes>
inline void access(const void* pointer, Kind kind, const void* site) {
  if (machine->global.contains(pointer) &&
      machine->global.is_right<bytes>(*machine->block.launch, pointer, kind))
    return;
  access(pointer, bytes, kind, site);
}
// A read of shared memory by another lane of the running warp.
void access_as_lane(int lane, const void* pointer, size_t bytes, const void* site);

// Lets others run until somebody wakes this thread.
void sleep(const char* what, const void* site);
void wake(Warp& warp, size_t number, uint32_t lanes);

// ---- the end of the block: nothing after these runs on this fiber

// what, the bytes it is about if there are any, the place, who was there first.
[[noreturn]] void stop(const Wrong& wrong, const void* pointer, size_t bytes, const void* site);
[[noreturn]] void stop(const char* what, const void* site, const char* what_else = nullptr,
                       const void* other_site = nullptr);

}  // namespace emulsion::emulator
