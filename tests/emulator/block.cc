// Grids, blocks and the order in which their threads run. A thread runs until it waits for others;
// then another one goes on, mostly of the same warp, whose stacks are in the cache.
#include "block.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <sstream>

#include "core/errors.h"
#include "machine.h"
#include "portable.h"
#include "report.h"

namespace emulsion::emulator {

thread_local constinit Thread* current = nullptr;
thread_local constinit Machine* machine = nullptr;

namespace {

constexpr uint32_t stays_in_warp = 16;  // all but one in so many times

Thread* next_thread() {
  Block& block = machine->block;
  if (!block.jobs.empty()) run_jobs();
  if (!block.ready) return nullptr;
  const uint32_t dice = machine->roll(stays_in_warp * warp_size * warp_size);
  auto number = static_cast<uint32_t>(current->number / warp_size);
  if (!(block.ready >> number & 1) || dice < warp_size * warp_size) {
    const uint32_t turn = dice / warp_size % warp_size;
    const uint32_t turned = block.ready >> turn | block.ready << (warp_size - turn) % warp_size;
    number = (static_cast<uint32_t>(__builtin_ctz(turned)) + turn) % warp_size;
  }
  Warp& warp = block.warps[number];
  const uint32_t turn = dice % warp_size;
  const uint32_t turned = warp.runnable >> turn | warp.runnable << (warp_size - turn) % warp_size;
  const uint32_t lane = (static_cast<uint32_t>(__builtin_ctz(turned)) + turn) % warp_size;
  warp.runnable &= ~(1u << lane);
  if (!warp.runnable) block.ready &= ~(1u << number);
  return &block.threads[number * warp_size + lane];
}

// Leaves this fiber: to another thread, or to run_block when there is none.
void leave() {
  Thread* self = current;
  Thread* next = next_thread();
  if (next == self) return;
  if (next) {
    current = next;
    emulsion_switch_fiber(&self->stack, next->stack);
  } else {
    emulsion_switch_fiber(&self->stack, machine->scheduler);
  }
}

[[noreturn]] void abandon() {
  emulsion_switch_fiber(&current->stack, machine->scheduler);
  std::abort();  // nobody continues an abandoned fiber
}

void release_barrier() {
  Block& block = machine->block;
  const uint64_t floor = machine->clock++;
  block.at_barrier = 0;
  block.barrier_site = nullptr;
  for (Thread& thread : block.threads) {
    thread.now.floor = floor;
    thread.now.clock = machine->clock;
    if (thread.now.knows) thread.now.knows = {};
  }
  for (size_t i = 0; i < block.warps.size(); ++i) {
    wake(block.warps[i], i, block.warps[i].at_barrier);
    block.warps[i].at_barrier = 0;
  }
}

void run_call() {
  Block& block = machine->block;
  try {
    block.call->run(block.call->call);
  } catch (const std::exception& error) {
    const AsHost host;
    block.error = std::string("a kernel cannot throw: ") + error.what();
  }
}

void run_thread() {
  run_call();
  Block& block = machine->block;
  if (!block.error.empty()) abandon();
  if (!current->store_groups.empty())
    stop("a thread returns while its bulk stores may still read shared memory, asked for at ",
         current->store_groups.back().site);
  current->done = true;
  warp_of(*current).live &= ~(1u << current->number % warp_size);
  --block.live;
  if (block.at_barrier > 0 && block.at_barrier == block.live) release_barrier();
  leave();
  std::abort();
}

std::string place(const uint3& index) {
  std::string text = "(";
  text += std::to_string(index.x) + ", " + std::to_string(index.y) + ", ";
  return text + std::to_string(index.z) + ")";
}

uint3 block_at(uint64_t number) {
  const dim3& grid = machine->block.grid;
  return {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
          static_cast<unsigned>(number / grid.x / grid.y)};
}

std::string deadlock_report() {
  const Block& block = machine->block;
  std::ostringstream text;
  text << "deadlock: no thread can go on";
  std::vector<std::pair<const Thread*, int>> places;
  for (const Thread& thread : block.threads) {
    if (thread.done) continue;
    auto found = places.begin();
    while (found != places.end() && found->first->waits_at != thread.waits_at) ++found;
    if (found != places.end())
      ++found->second;
    else
      places.emplace_back(&thread, 1);
  }
  for (const auto& [thread, count] : places)
    text << "; " << count << " of " << block.threads.size() << " wait in " << thread->waits_for
         << " at " << source_line(thread->waits_at);
  text << describe_barriers();
  const auto ended = block.threads.size() - static_cast<size_t>(block.live);
  if (ended) text << "; " << ended << " have returned";
  for (size_t i = 0; i < block.warps.size(); ++i)
    for (const Meeting& meeting : block.warps[i].meetings) {
      const uint32_t missing = meeting.mask & ~block.warps[i].live;
      if (!missing) continue;
      const size_t last = i * warp_size + 31 - static_cast<size_t>(__builtin_clz(missing));
      text << "; a mask names lanes that "
           << (last < block.threads.size() ? "have returned" : "do not exist");
      return text.str();
    }
  return text.str();
}

void run_block(size_t dynamic_shared) {
  Machine& host = *machine;
  Block& block = host.block;
  const dim3& size = block.dimensions;
  const size_t threads = block.threads.size();
  const uint64_t floor = host.clock++;
  block.start = host.clock;
  host.shared.begin_block(dynamic_shared);
  block.live = static_cast<int>(threads);
  begin_engines();
  block.at_barrier = 0;
  block.barrier_site = nullptr;
  block.computing = false;
  for (size_t i = 0; i < threads; ++i) {
    Thread& thread = block.threads[i];
    const auto n = static_cast<unsigned>(i);
    thread.number = static_cast<int>(i);
    thread.index = {n % size.x, n / size.x % size.y, n / size.x / size.y};
    thread.done = false;
    thread.now.clock = host.clock;
    thread.now.floor = thread.now.warp_floor = floor;
    thread.now.id = static_cast<uint16_t>(agents + i);
    thread.now.knows = {};
    thread.copies.clear();
    thread.groups.clear();
    thread.delivered = thread.closed = 0;
    thread.fence_count = thread.stores = thread.product_group = 0;
    thread.products_fenced = false;
    thread.store_groups.clear();
    for (uint64_t& fence : thread.fences) fence = 0;
    thread.stack = host.stacks.prepare(thread.number, run_thread);
  }
  for (size_t i = 0; i < block.warps.size(); ++i) {
    Warp& warp = block.warps[i];
    const size_t lanes = std::min<size_t>(warp_size, threads - i * warp_size);
    warp.live = lanes == warp_size ? all_lanes : (1u << lanes) - 1;
    warp.at_barrier = 0;
    warp.meetings.clear();
    warp.runnable = 0;
    wake(warp, i, warp.live);
  }
  // Somebody to start from: any warp may be first.
  current = &block.threads[host.roll(static_cast<uint32_t>(threads))];
  current = next_thread();
  emulsion_switch_fiber(&host.scheduler, current->stack);
  const Thread& last = *current;
  current = nullptr;
  if (!block.error.empty())
    block.error += "; thread " + place(last.index) + " of block " + place(block.index);
  else if (block.live > 0)
    block.error = deadlock_report() + "; block " + place(block.index);
  else if (!block.jobs.empty())
    block.error = "threads have returned while a bulk copy is under way, asked for at " +
                  source_line(block.jobs.front().site) + "; block " + place(block.index);
}

}  // namespace

Machine::Machine() {
  if (const char* seed = std::getenv("EMULSION_EMULATOR_SEED"))
    random ^= std::strtoull(seed, nullptr, 10) * 0xd1342543de82ef95ull;
}

uint3 thread_index() { return current->index; }
uint3 block_index() { return machine->block.index; }
dim3 block_dimensions() { return machine->block.dimensions; }
dim3 grid_dimensions() { return machine->block.grid; }

void sleep(const char* what, const void* site) {
  current->waits_for = what;
  current->waits_at = site;
  leave();
}

void yield_thread() {
  const auto number = static_cast<size_t>(current->number / warp_size);
  wake(machine->block.warps[number], number, 1u << current->number % warp_size);
  leave();
}

void wake(Warp& warp, size_t number, uint32_t lanes) {
  warp.runnable |= lanes;
  if (lanes) machine->block.ready |= 1u << number;
}

void run_grid(const char* op, dim3 grid, dim3 dimensions, size_t dynamic_shared, const Call& call) {
  const uint64_t threads = uint64_t{dimensions.x} * dimensions.y * dimensions.z;
  EMULSION_CHECK(threads >= 1 && threads <= 1024 && dimensions.z <= 64, op, ": a block of ",
                 dimensions.x, " x ", dimensions.y, " x ", dimensions.z, " threads");
  EMULSION_CHECK(grid.y <= 65535 && grid.z <= 65535 && grid.x <= 0x7fffffffu, op, ": a grid of ",
                 grid.x, " x ", grid.y, " x ", grid.z, " blocks");
  EMULSION_CHECK(dynamic_shared <= static_cast<size_t>(shared_bytes()), op,
                 ": too much shared memory: ", dynamic_shared, " bytes dynamic, of ",
                 shared_bytes());
  thread_local std::unique_ptr<Machine> own;
  if (!own) own = std::make_unique<Machine>();
  Launch launch(call.call, call.bytes);
  machine = own.get();
  Block& block = machine->block;
  block.op = op;
  block.call = &call;
  block.grid = grid;
  block.dimensions = dimensions;
  block.launch = &launch;
  block.error.clear();
  block.threads.resize(threads);
  block.warps.resize((threads + warp_size - 1) / warp_size);
  block.ready = 0;
  block.conflicts = {};
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  // Any order is legal; half of the launches run backwards.
  const bool backwards = machine->roll(2) == 1;
  for (uint64_t i = 0; i < blocks && block.error.empty(); ++i) {
    const uint64_t number = backwards ? blocks - 1 - i : i;
    block.number = static_cast<uint32_t>(number);
    block.index = block_at(number);
    launch.begin_block(block.number);
    run_block(dynamic_shared);
  }
  const std::string error = std::move(block.error);
  const Conflicts conflicts = block.conflicts;
  current = nullptr;
  machine = nullptr;
  if (conflicts.worst > 1)
    std::fprintf(stderr, "lint: %s: ldmatrix with %d rows in one bank, %s, of %s\n", op,
                 conflicts.worst, source_line(conflicts.site).c_str(),
                 function_name(call.kernel).c_str());
  if (!error.empty())
    fail(ErrorCode::internal, op, ": ", error, " of ", function_name(call.kernel));
}

void stop(const Wrong& wrong, const void* pointer, size_t bytes, const void* site) {
  {
    const AsHost host;
    std::ostringstream text;
    text << wrong.what;
    if (pointer) {
      text << ": " << bytes << " bytes at "
           << (machine->shared.contains(pointer)   ? machine->shared.describe(pointer)
               : machine->global.contains(pointer) ? machine->global.describe(pointer)
                                                   : "an address outside of the device");
    }
    text << ", " << source_line(site);
    if (wrong.other != Wrong::nobody)
      text << "; the other is "
           << (wrong.other < 0
                   ? "an asynchronous engine, started"
                   : "thread " +
                         place(machine->block.threads[static_cast<size_t>(wrong.other)].index))
           << " at " << source_line(wrong.other_site);
    if (wrong.other_block >= 0)
      text << "; the other is block " << place(block_at(static_cast<uint64_t>(wrong.other_block)));
    machine->block.error = text.str();
  }
  abandon();
}

void stop(const char* what, const void* site, const char* what_else, const void* other_site) {
  {
    const AsHost host;
    std::string& text = machine->block.error;
    text = what;
    if (site) text += source_line(site);
    if (what_else) text += what_else;
    if (other_site) text += source_line(other_site);
  }
  abandon();
}

void* dynamic_shared_memory() { return machine->shared.dynamic(); }

void* static_shared_memory(const void* tag, const char* file, int line, size_t bytes) {
  SharedMemory& shared = machine->shared;
  bool fits;
  void* array;
  {
    const AsHost host;
    array = shared.static_array(tag, file, line, bytes);
    fits = array && shared.asked() <= static_cast<size_t>(shared_bytes());
    if (!fits)
      machine->block.error =
          "too much shared memory: " + std::to_string(shared.asked() - shared.dynamic_bytes()) +
          " bytes of arrays and " + std::to_string(shared.dynamic_bytes()) + " dynamic, of " +
          std::to_string(shared_bytes()) + "; the array at " + short_path(file) + ":" +
          std::to_string(line);
  }
  if (!fits) abandon();
  return array;
}

void access(const void* pointer, size_t bytes, Kind kind, const void* site) {
  Wrong wrong;
  if (machine->shared.contains(pointer)) {
    wrong = machine->shared.access(pointer, bytes, kind, current->now, site);
    if (!wrong) return;
  } else if (machine->global.contains(pointer)) {
    wrong = machine->global.access(*machine->block.launch, pointer, bytes, kind);
    if (!wrong) return;
  } else if (machine->block.computing) {
    return;
  } else if (machine->stacks.contains(pointer)) {
    wrong.what = "local memory of another thread";
  } else if (kind != Kind::read) {
    wrong.what = "write to host memory";
  } else {
    const auto offset = static_cast<size_t>(static_cast<const char*>(pointer) -
                                            static_cast<const char*>(machine->block.call->call));
    if (offset < machine->block.call->bytes || in_image(pointer)) return;
    wrong.what = "read of host memory";
  }
  stop(wrong, pointer, bytes, site);
}

void access_atomic(const void* pointer, size_t bytes, const void* site) {
  access(pointer, bytes, Kind::atomic, site);
}

void access_as_lane(int lane, const void* pointer, size_t bytes, const void* site) {
  const size_t first = static_cast<size_t>(current->number / warp_size * warp_size);
  Thread& thread = machine->block.threads[first + static_cast<size_t>(lane)];
  if (!machine->shared.contains(pointer)) {
    current = &thread;
    stop({"not in shared memory"}, pointer, bytes, site);
  }
  if (const Wrong wrong = machine->shared.access(pointer, bytes, Kind::read, thread.now, site)) {
    current = &thread;
    stop(wrong, pointer, bytes, site);
  }
}

void barrier(const void* site) {
  Block& block = machine->block;
  if (block.at_barrier > 0 && block.barrier_site != site && !same_place(block.barrier_site, site))
    stop("barrier divergence: threads of one block wait in __syncthreads at ", block.barrier_site,
         " and at ", site);
  block.barrier_site = site;
  ++block.at_barrier;
  warp_of(*current).at_barrier |= 1u << current->number % warp_size;
  if (block.at_barrier == block.live) {
    release_barrier();
    if (machine->roll(2)) return leave();
    // Goes on at once: it is awake, and must not be woken a second time.
    Warp& warp = warp_of(*current);
    warp.runnable &= ~(1u << current->number % warp_size);
    if (!warp.runnable) block.ready &= ~(1u << current->number / warp_size);
    return;
  }
  sleep("__syncthreads", site);
}

}  // namespace emulsion::emulator
