// The state of a running block, for the emulator's own files.
#pragma once

#include <string>
#include <vector>

#include "block.h"
#include "fiber.h"
#include "memory.h"
#include "order.h"
#include "shared.h"
#include "tensor.h"

namespace emulsion::emulator {

constexpr int warp_size = 32;

struct Number {
  float value = 0;
};

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

struct StoreGroup {
  uint32_t number;
  uint64_t clock;
  const void* site;
};

struct Thread {
  void* stack = nullptr;  // where it stopped
  uint3 index{};
  int number = 0;
  bool done = false;
  Moment now;
  const char* waits_for = nullptr;
  const void* waits_at = nullptr;
  uint64_t fences[8] = {};  // clocks of its latest fence.proxy.async
  uint32_t fence_count = 0;
  std::vector<StoreGroup> store_groups;
  uint32_t stores = 0;  // the open group
  uint32_t product_group = 0;
  bool products_fenced = false;
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

// ---- sm_90: barriers of some threads, and engines that work beside the threads

struct MBarrier {
  uint32_t offset;  // in shared memory
  uint32_t expected;
  int64_t pending, bytes = 0;
  uint32_t phase = 0;
  bool fenced = false;  // the asynchronous engines may know of it
  Thread* owner;        // who initialised it
  Knowledge gathered;   // of those that have arrived in this phase
  Known last;           // and in the one before
  std::vector<Thread*> waiting;
};
// Ids of agents: an mbarrier's copies, a warpgroup's products, all bulk stores.
constexpr uint32_t most_mbarriers = 48, product_agent = 48, store_agent = 56;

struct NamedBarrier {
  uint32_t threads = 0, arrived = 0;
  Knowledge gathered;
  std::vector<Thread*> waiting;
};

struct BulkCopy {
  Tensor map;
  bool load;
  uint32_t offset;  // in shared memory
  int64_t at[5];
  size_t barrier;  // of a load
  Thread* thread;  // of a store
  uint32_t group;  // of that thread's stores
  uint64_t clock;  // of the agent
  const void* site;
};

// Products under way: what their accumulators will be.
struct Product {
  float* lanes[128];  // null once a thread has taken its part
  int columns;
  int taken = 0;
  uint32_t group;
  uint64_t clock;
  std::vector<Number> sums;  // [64, columns]
};

struct WarpGroup {
  struct Reads {
    uint32_t group;
    uint64_t clock;  // of the agent, after the group's last product
  };
  void* lanes[128];
  int arrived = 0;
  const void* site = nullptr;
  std::vector<Product> products;
  std::vector<Reads> reads;  // of the newest groups
};

// The worst that EMULSION_EMULATOR_LINT=1 has seen of shared memory's banks.
struct Conflicts {
  int worst = 1;
  const void* site = nullptr;
};

struct Block {
  const char* op = nullptr;
  const Call* call = nullptr;
  dim3 grid, dimensions;
  uint3 index{};
  uint32_t number = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  uint64_t start = 0;  // the clock when it began
  uint32_t ready = 0;  // warps with runnable lanes
  int live = 0;
  int at_barrier = 0;
  const void* barrier_site = nullptr;
  bool computing = false;  // a collective: the last lane acts for all
  Launch* launch = nullptr;
  std::vector<MBarrier> mbarriers;
  std::vector<NamedBarrier> named;
  std::vector<BulkCopy> jobs;
  std::vector<WarpGroup> groups;
  Conflicts conflicts;
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
  float group_a[64 * 16], group_b[16 * 256];  // operands of a warpgroup

  Machine();
  uint32_t roll(uint32_t below) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return static_cast<uint32_t>((random >> 32) * below >> 32);
  }
};

// Of this queue thread; null where no kernel runs. The model spares the hooks a call, and takes the
// image's thread-local memory from what the process has set aside: a kilobyte or so.
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
  if (machine->shared.contains(pointer)
          ? machine->shared.is_right<bytes>(pointer, kind, current->now, site)
          : machine->global.contains(pointer) &&
                machine->global.is_right<bytes>(*machine->block.launch, pointer, kind))
    return;
  access(pointer, bytes, kind, site);
}
// A read of shared memory by another lane of the running warp.
void access_as_lane(int lane, const void* pointer, size_t bytes, const void* site);

// Lets others run until somebody wakes this thread.
void sleep(const char* what, const void* site);
void wake(Warp& warp, size_t number, uint32_t lanes);
// Lets others run, and goes on whenever its turn comes.
void yield_thread();

// ---- order

// Adds what a thread knows, its own accesses included, to what others will learn.
void publish(Knowledge& into, const Thread& thread);
void acquire(Thread& thread, const Known& news);
// What the thread does from here on is not yet published.
inline void advance(Thread& thread) { thread.now.clock = ++machine->clock; }

// ---- engines

void begin_engines();
// The moment of an agent that a thread starts: it knows what the thread knows.
Moment moment_of_agent(uint32_t agent, const Thread& thread);
// A read or write of shared memory by an agent. Bytes that threads have written must have been
// fenced by them.
void access_as_agent(const Moment& agent, uint32_t offset, size_t bytes, Kind kind,
                     const void* site);
size_t mbarrier_of_copy(uint64_t* at, const void* site);
void complete_bytes(size_t mbarrier, int64_t bytes, uint64_t clock);
// Lets copies under way arrive: some, and all that must for a thread to go on.
void run_jobs();
std::string describe_barriers();

// ---- the end of the block: nothing after these runs on this fiber

// what, the bytes it is about if there are any, the place, who was there first.
[[noreturn]] void stop(const Wrong& wrong, const void* pointer, size_t bytes, const void* site);
[[noreturn]] void stop(const char* what, const void* site, const char* what_else = nullptr,
                       const void* other_site = nullptr);

}  // namespace emulsion::emulator
