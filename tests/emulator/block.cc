#include "block.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/errors.h"
#include "fiber.h"
#include "memory.h"
#include "portable.h"

namespace emulsion::emulator {
namespace {

constexpr int warp_size = 32;

struct Copy {
  void* to;
  const void* from;
  int bytes;
  bool valid;
  const void* site;
};

struct Thread {
  void* stack = nullptr;
  uint3 index{};
  int number = 0;
  bool done = false;
  const char* waits_for = nullptr;
  const void* waits_at = nullptr;
  std::vector<Copy> open;                // not yet committed
  std::deque<std::vector<Copy>> groups;  // oldest first
};

// A meeting of lanes under way.
struct Meeting {
  const void* site;
  uint32_t mask, arrived;
  void* lanes[warp_size];
};

struct Warp {
  uint16_t collective = 0;
  std::vector<Meeting> meetings;
};

struct Block {
  const char* op;
  const void* kernel;
  dim3 grid, dimensions;
  uint3 index{};
  uint32_t number = 0;
  const std::function<void()>* body;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<Thread*> runnable;
  int live = 0;
  int at_barrier = 0;
  const void* barrier_site = nullptr;
  std::vector<Thread*> barrier_waiters;
  std::string error;
};

struct Machine {
  StackPool stacks;
  SharedMemory shared;
  uint32_t barriers = 0;  // passed since the start, block starts included
  uint64_t random = 0x9e3779b97f4a7c15ull;
  void* scheduler = nullptr;

  uint32_t roll(uint32_t below) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return static_cast<uint32_t>((random >> 33) % below);
  }
};

thread_local Block* block = nullptr;
thread_local Thread* current = nullptr;

Machine& machine() {
  thread_local std::unique_ptr<Machine> own = [] {
    auto made = std::make_unique<Machine>();
    if (const char* seed = std::getenv("EMULSION_EMULATOR_SEED"))
      made->random ^= std::strtoull(seed, nullptr, 10) * 0xd1342543de82ef95ull;
    return made;
  }();
  return *own;
}

Moment moment(const Thread& thread) {
  return {machine().barriers, static_cast<uint16_t>(thread.number),
          block->warps[thread.number / warp_size].collective};
}

// Back to the scheduler, until somebody makes this thread runnable again.
void sleep(const char* what, const void* site) {
  current->waits_for = what;
  current->waits_at = site;
  emulsion_switch_fiber(&current->stack, machine().scheduler);
  current->waits_for = nullptr;
}

void release_barrier() {
  ++machine().barriers;
  block->at_barrier = 0;
  block->barrier_site = nullptr;
  for (Thread* thread : block->barrier_waiters) block->runnable.push_back(thread);
  block->barrier_waiters.clear();
}

void run_thread() {
  (*block->body)();
  current->done = true;
  --block->live;
  if (block->at_barrier > 0 && block->at_barrier == block->live) release_barrier();
  emulsion_switch_fiber(&current->stack, machine().scheduler);
  std::abort();  // nobody continues a finished thread
}

std::string demangled(const void* code) {
  Dl_info info;
  if (!dladdr(code, &info) || !info.dli_sname) return "a kernel";
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : info.dli_sname;
}

// file:line of a code address, as far as binutils know it.
std::string source_line(const void* site) {
  Dl_info info;
  if (!site || !dladdr(site, &info) || !info.dli_fname) return "?";
  char command[1024], line[512] = "";
  const auto offset = static_cast<const char*>(site) - static_cast<const char*>(info.dli_fbase) - 1;
  std::snprintf(command, sizeof command, "addr2line -e '%s' 0x%zx 2>/dev/null", info.dli_fname,
                static_cast<size_t>(offset));
  if (FILE* pipe = popen(command, "r")) {
    if (!std::fgets(line, sizeof line, pipe)) line[0] = 0;
    pclose(pipe);
  }
  std::string text = line;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.empty() ? "?" : text;
}

std::string place(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ")";
}

[[noreturn]] void stop_with(const std::string& report) {
  block->error = report;
  emulsion_switch_fiber(&current->stack, machine().scheduler);
  std::abort();
}

std::string deadlock_report() {
  std::ostringstream text;
  text << "deadlock: no thread can go on";
  std::vector<std::pair<const void*, int>> sites;
  for (const Thread& thread : block->threads) {
    if (thread.done) continue;
    auto found = sites.begin();
    while (found != sites.end() && found->first != thread.waits_at) ++found;
    if (found != sites.end()) {
      ++found->second;
      continue;
    }
    sites.emplace_back(thread.waits_at, 1);
  }
  for (const auto& [site, count] : sites) {
    const char* what = "";
    for (const Thread& thread : block->threads)
      if (!thread.done && thread.waits_at == site) what = thread.waits_for;
    text << "; " << count << " of " << block->threads.size() << " wait in " << what << " at "
         << source_line(site);
  }
  return text.str();
}

void deliver(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  else
    std::memset(copy.to, 0, static_cast<size_t>(copy.bytes));
  const char* wrong =
      machine().shared.access(copy.to, static_cast<size_t>(copy.bytes), true, moment(*current));
  if (wrong) stop(wrong, copy.to, static_cast<size_t>(copy.bytes), copy.site);
}

void run_block(size_t dynamic_shared) {
  Machine& host = machine();
  const dim3& size = block->dimensions;
  const int threads = static_cast<int>(size.x * size.y * size.z);
  ++host.barriers;
  host.shared.begin_block(dynamic_shared);
  block->threads.assign(static_cast<size_t>(threads), Thread());
  block->warps.assign(static_cast<size_t>((threads + warp_size - 1) / warp_size), Warp());
  block->runnable.clear();
  block->barrier_waiters.clear();
  block->live = threads;
  block->at_barrier = 0;
  for (int i = 0; i < threads; ++i) {
    Thread& thread = block->threads[static_cast<size_t>(i)];
    const auto n = static_cast<unsigned>(i);
    thread.number = i;
    thread.index = {n % size.x, n / size.x % size.y, n / size.x / size.y};
    thread.stack = host.stacks.prepare(i, run_thread);
    block->runnable.push_back(&thread);
  }
  while (block->live > 0) {
    if (block->runnable.empty()) {
      block->error = deadlock_report();
      return;
    }
    const uint32_t pick = host.roll(static_cast<uint32_t>(block->runnable.size()));
    std::swap(block->runnable[pick], block->runnable.back());
    current = block->runnable.back();
    block->runnable.pop_back();
    emulsion_switch_fiber(&host.scheduler, current->stack);
    if (!block->error.empty()) {
      const Thread& guilty = *current;
      block->error += "; thread " + place(guilty.index);
      return;
    }
  }
}

}  // namespace

uint3 thread_index() { return current->index; }
uint3 block_index() { return block->index; }
dim3 block_dimensions() { return block->dimensions; }
dim3 grid_dimensions() { return block->grid; }
bool in_kernel() { return current != nullptr; }

void run_grid(const char* op, const void* kernel, dim3 grid, dim3 dimensions, size_t dynamic_shared,
              const std::function<void()>& body) {
  const uint64_t threads = uint64_t{dimensions.x} * dimensions.y * dimensions.z;
  EMULSION_CHECK(threads >= 1 && threads <= 1024, op, ": a block of ", threads, " threads");
  EMULSION_CHECK(grid.y <= 65535 && grid.z <= 65535 && grid.x <= 0x7fffffffu, op, ": a grid of ",
                 grid.x, " x ", grid.y, " x ", grid.z, " blocks");
  EMULSION_CHECK(dynamic_shared <= static_cast<size_t>(portable_shared_bytes), op, ": ",
                 dynamic_shared, " bytes of shared memory");
  Block own;
  own.op = op;
  own.kernel = kernel;
  own.grid = grid;
  own.dimensions = dimensions;
  own.body = &body;
  block = &own;
  global_memory().begin_launch();
  const uint32_t blocks = grid.x * grid.y * grid.z;
  // Any order is legal; half of the launches run backwards.
  const bool backwards = machine().roll(2) == 1;
  for (uint32_t i = 0; i < blocks && own.error.empty(); ++i) {
    const uint32_t number = backwards ? blocks - 1 - i : i;
    own.number = number;
    own.index = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    run_block(dynamic_shared);
    if (own.error.empty() && machine().shared.used() > SharedMemory::capacity)
      own.error = "too much shared memory";
  }
  current = nullptr;
  block = nullptr;
  if (!own.error.empty())
    fail(ErrorCode::internal, op, ": ", own.error, "; block ", place(own.index), " of ",
         demangled(kernel));
}

void stop(const char* what, const void* pointer, size_t bytes, const void* site) {
  std::ostringstream text;
  text << what;
  if (pointer) {
    text << ": " << bytes << " bytes at ";
    if (machine().shared.contains(pointer))
      text << machine().shared.describe(pointer);
    else if (global_memory().contains(pointer))
      text << global_memory().describe(pointer);
    else
      text << "an address outside of the device";
  }
  text << ", " << source_line(site);
  stop_with(text.str());
}

void* dynamic_shared_memory() { return machine().shared.dynamic(); }

void* static_shared_memory(const char* file, int line, size_t bytes) {
  return machine().shared.static_array(file, line, bytes);
}

void access(const void* pointer, size_t bytes, bool write, const void* site) {
  Machine& host = machine();
  if (host.stacks.contains(pointer)) return;
  const char* wrong = nullptr;
  if (host.shared.contains(pointer))
    wrong = host.shared.access(pointer, bytes, write, moment(*current));
  else if (global_memory().contains(pointer))
    wrong = global_memory().access(pointer, bytes, write, block->number);
  else if (write)
    wrong = "write to host memory";
  if (wrong) stop(wrong, pointer, bytes, site);
}

void access_atomic(const void* pointer, size_t bytes, const void* site) {
  Machine& host = machine();
  const char* wrong = host.shared.contains(pointer) ? host.shared.check(pointer, bytes, true)
                      : global_memory().contains(pointer)
                          ? global_memory().check(pointer, bytes, true)
                          : "atomic outside of the device's memory";
  if (wrong) stop(wrong, pointer, bytes, site);
}

void access_as_lane(int lane, const void* pointer, size_t bytes, const void* site) {
  const size_t first = static_cast<size_t>(current->number / warp_size * warp_size);
  const Thread& thread = block->threads[first + static_cast<size_t>(lane)];
  const char* wrong = machine().shared.contains(pointer)
                          ? machine().shared.access(pointer, bytes, false, moment(thread))
                          : "not in shared memory";
  if (wrong) stop(wrong, pointer, bytes, site);
}

void barrier(const void* site) {
  if (block->at_barrier > 0 && block->barrier_site != site)
    stop_with("barrier divergence: threads of one block wait at " +
              source_line(block->barrier_site) + " and at " + source_line(site));
  block->barrier_site = site;
  if (++block->at_barrier == block->live) return release_barrier();
  block->barrier_waiters.push_back(current);
  sleep("__syncthreads", site);
}

void meet(uint32_t mask, void* mine, Compute compute, const void* site) {
  Warp& warp = block->warps[static_cast<size_t>(current->number / warp_size)];
  const int lane = current->number % warp_size;
  if (!(mask >> lane & 1))
    stop_with("a lane takes part that its mask does not name, " + source_line(site));
  Meeting* found = nullptr;
  for (Meeting& each : warp.meetings)
    if (each.site == site && each.mask == mask && !(each.arrived >> lane & 1)) found = &each;
  if (!found) {
    for (const Meeting& each : warp.meetings)
      if (each.mask & mask)
        stop_with("lanes of one warp wait for each other at " + source_line(each.site) +
                  " and at " + source_line(site));
    warp.meetings.push_back({site, mask, 0, {}});
    found = &warp.meetings.back();
  }
  found->arrived |= 1u << lane;
  found->lanes[lane] = mine;
  if (found->arrived != mask) return sleep("a warp collective", site);
  const Meeting complete = *found;
  warp.meetings.erase(warp.meetings.begin() + (found - warp.meetings.data()));
  compute(const_cast<void**>(complete.lanes), mask, site);
  ++warp.collective;
  const size_t first = static_cast<size_t>(current->number - lane);
  for (int i = 0; i < warp_size; ++i)
    if (i != lane && (mask >> i & 1))
      block->runnable.push_back(&block->threads[first + static_cast<size_t>(i)]);
}

void copy_async(void* to, const void* from, int bytes, bool valid, const void* site) {
  SharedMemory& shared = machine().shared;
  const auto size = static_cast<size_t>(bytes);
  if (!shared.contains(to)) stop("cp.async to what is not shared memory", to, size, site);
  if (const char* wrong = shared.access(to, size, true, moment(*current)))
    stop(wrong, to, size, site);
  if (valid) {
    if (!global_memory().contains(from))
      stop("cp.async from what is not global memory", from, size, site);
    if (const char* wrong = global_memory().access(from, size, false, block->number))
      stop(wrong, from, size, site);
  }
  shared.poison(to, size);
  current->open.push_back({to, from, bytes, valid, site});
}

void commit_copies() {
  current->groups.push_back(std::move(current->open));
  current->open.clear();
}

void await_copies(int pending) {
  while (current->groups.size() > static_cast<size_t>(pending)) {
    for (const Copy& copy : current->groups.front()) deliver(copy);
    current->groups.pop_front();
  }
}

}  // namespace emulsion::emulator
