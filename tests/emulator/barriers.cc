// Barriers of some threads of a block: bar.sync with a name, mbarrier; and fences between the
// threads' own accesses and those of the asynchronous engines.
#include <algorithm>

#include "machine.h"
#include "report.h"

namespace emulsion::emulator {
namespace {

constexpr uint32_t named_barriers = 16;

void wake_thread(const Thread& thread) {
  const auto warp = static_cast<size_t>(thread.number / warp_size);
  wake(machine->block.warps[warp], warp, 1u << thread.number % warp_size);
}

NamedBarrier& arrive_at(uint32_t id, uint32_t threads, const void* site) {
  Block& block = machine->block;
  if (id == 0 || id >= named_barriers)
    stop("a named barrier is one of 1 to 15 (0 is __syncthreads), ", site);
  if (threads == 0 || threads % warp_size)
    stop("a named barrier of threads that are not whole warps, ", site);
  if (threads > block.threads.size())
    stop("a named barrier of more threads than the block, ", site);
  NamedBarrier& barrier = block.named[id];
  if (barrier.arrived && barrier.threads != threads)
    stop("threads name different numbers for one barrier, ", site);
  barrier.threads = threads;
  ++barrier.arrived;
  barrier.gathered.resize(agents + block.threads.size());
  publish(barrier.gathered, *current);
  advance(*current);
  return barrier;
}

Known complete(NamedBarrier& barrier) {
  const Known news(std::move(barrier.gathered));
  for (Thread* thread : barrier.waiting) {
    acquire(*thread, news);
    advance(*thread);
    wake_thread(*thread);
  }
  barrier = NamedBarrier{};
  return news;
}

MBarrier& find(const uint64_t* at, const void* site) {
  Block& block = machine->block;
  if (!machine->shared.contains(at)) stop({"an mbarrier outside of shared memory"}, at, 8, site);
  access(at, 8, Kind::atomic, site);
  const uint32_t offset = machine->shared.offset(at);
  for (MBarrier& each : block.mbarriers)
    if (each.offset == offset) return each;
  stop({"an mbarrier that nothing has initialised"}, at, 8, site);
}

void settle(MBarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  const size_t ids = barrier.gathered.size();
  const Known news(std::move(barrier.gathered));
  ++barrier.phase;
  barrier.pending = barrier.expected;
  barrier.gathered = Knowledge(ids);
  barrier.last = news;
  for (Thread* thread : barrier.waiting) {
    acquire(*thread, news);
    wake_thread(*thread);
  }
  barrier.waiting.clear();
}

void arrive(MBarrier& barrier, const void* site) {
  if (barrier.pending == 0) stop("more threads arrive at an mbarrier than it expects, ", site);
  publish(barrier.gathered, *current);
  advance(*current);
  --barrier.pending;
  settle(barrier);
}

}  // namespace

void begin_engines() {
  Block& block = machine->block;
  block.mbarriers.clear();
  block.named.assign(named_barriers, NamedBarrier{});
  block.jobs.clear();
  block.groups.clear();
  block.groups.resize((block.threads.size() + 127) / 128);
}

void publish(Knowledge& into, const Thread& thread) {
  const Moment& now = thread.now;
  if (now.knows)
    for (size_t i = 0; i < into.size(); ++i)
      into[i].time = std::max(into[i].time, (*now.knows)[i].time);
  const size_t first = now.id / warp_size * warp_size;
  for (size_t i = first; i < std::min(first + warp_size, into.size()); ++i)
    into[i].time = std::max(into[i].time, now.warp_floor);
  into[now.id].time = std::max(into[now.id].time, now.clock);
}

void acquire(Thread& thread, const Known& news) {
  // Threads of a warp mostly know the same and learn the same.
  struct Step {
    Known known, learnt, both;
  };
  static thread_local Step step;
  Known& knows = thread.now.knows;
  if (!knows) {
    knows = news;
    return;
  }
  if (!(knows == step.known) || !(news == step.learnt)) {
    Knowledge sum = *knows;
    for (size_t i = 0; i < sum.size(); ++i) sum[i].time = std::max(sum[i].time, (*news)[i].time);
    step = {knows, news, Known(std::move(sum))};
  }
  knows = step.both;
}

void sync_named(uint32_t id, uint32_t threads, const void* site) {
  NamedBarrier& barrier = arrive_at(id, threads, site);
  barrier.waiting.push_back(current);
  if (barrier.arrived < threads) return sleep("a named barrier", site);
  barrier.waiting.pop_back();
  acquire(*current, complete(barrier));
  advance(*current);
}

void arrive_named(uint32_t id, uint32_t threads, const void* site) {
  NamedBarrier& barrier = arrive_at(id, threads, site);
  if (barrier.arrived == threads) complete(barrier);
}

void init_mbarrier(uint64_t* at, uint32_t count, const void* site) {
  Block& block = machine->block;
  if (!machine->shared.contains(at)) stop({"an mbarrier outside of shared memory"}, at, 8, site);
  if (count == 0 || count >= 1u << 20)
    stop("an mbarrier of 0 or of 2^20 arrivals and more, ", site);
  access(at, 8, Kind::write, site);
  const uint32_t offset = machine->shared.offset(at);
  MBarrier* found = nullptr;
  for (MBarrier& each : block.mbarriers)
    if (each.offset == offset) found = &each;
  if (found && !found->waiting.empty())
    stop({"an mbarrier is initialised while threads wait for it"}, at, 8, site);
  if (!found && block.mbarriers.size() == most_mbarriers)
    stop("more mbarriers than the emulator keeps, ", site);
  MBarrier& barrier = found ? *found : block.mbarriers.emplace_back();
  barrier = MBarrier{};
  barrier.offset = offset;
  barrier.expected = count;
  barrier.pending = count;
  barrier.gathered.resize(agents + block.threads.size());
  barrier.owner = current;
}

void arrive_mbarrier(uint64_t* at, const void* site) { arrive(find(at, site), site); }

void arrive_expecting(uint64_t* at, uint32_t bytes, const void* site) {
  MBarrier& barrier = find(at, site);
  if (bytes >= 1u << 20) stop("an mbarrier counts less than 2^20 bytes, ", site);
  barrier.bytes += bytes;
  arrive(barrier, site);
}

void await_mbarrier(uint64_t* at, uint32_t parity, const void* site) {
  MBarrier& barrier = find(at, site);
  if (barrier.phase % 2 != parity) {
    // The phase of this parity has completed.
    if (barrier.last) acquire(*current, barrier.last);
    if (machine->roll(4) == 0) yield_thread();
    return;
  }
  barrier.waiting.push_back(current);
  sleep("an mbarrier", site);
}

Moment moment_of_agent(uint32_t agent, const Thread& thread) {
  Knowledge knows(agents + machine->block.threads.size());
  publish(knows, thread);
  Moment now;
  now.clock = ++machine->clock;
  now.floor = thread.now.floor;
  now.id = static_cast<uint16_t>(agent);
  now.knows = Known(std::move(knows));
  return now;
}

void access_as_agent(const Moment& agent, uint32_t offset, size_t bytes, Kind kind,
                     const void* site) {
  SharedMemory& shared = machine->shared;
  char* pointer = shared.at(offset);
  if (kind == Kind::read)
    shared.for_writers(pointer, bytes, [&](Stamp writer, uint32_t writer_site) {
      const auto id = static_cast<uint32_t>(writer & ((1u << id_bits) - 1));
      const uint64_t when = writer >> id_bits;
      if (when < machine->block.start || id < agents) return;
      const Thread& thread = machine->block.threads[id - agents];
      for (const uint64_t fence : thread.fences)
        if (fence >= when && agent.knows_of(fence, id)) return;
      stop({"bytes that a thread has written and no fence.proxy.async has shown to the engines",
            thread.number, expand_site(writer_site)},
           pointer, bytes, site);
    });
  if (const Wrong wrong = shared.access(pointer, bytes, kind, agent, site))
    stop(wrong, pointer, bytes, site);
}

// A copy has brought its bytes.
void complete_bytes(size_t number, int64_t bytes, uint64_t clock) {
  MBarrier& barrier = machine->block.mbarriers[number];
  barrier.bytes -= bytes;
  Clock& agent = barrier.gathered[number];
  agent.time = std::max(agent.time, clock);
  settle(barrier);
}

size_t mbarrier_of_copy(uint64_t* at, const void* site) {
  MBarrier& barrier = find(at, site);
  if (!barrier.fenced)
    stop({"an mbarrier whose initialisation no fence has shown to the copies"}, at, 8, site);
  return static_cast<size_t>(&barrier - machine->block.mbarriers.data());
}

void fence_mbarrier_init() {
  for (MBarrier& barrier : machine->block.mbarriers)
    if (barrier.owner == current) barrier.fenced = true;
}

void fence_proxy() {
  fence_mbarrier_init();
  Thread& self = *current;
  self.fences[self.fence_count++ % 8] = self.now.clock;
  advance(self);
}

std::string describe_barriers() {
  std::string text;
  for (const MBarrier& barrier : machine->block.mbarriers)
    if (!barrier.waiting.empty())
      text += "; an mbarrier lacks " + std::to_string(barrier.pending) + " of " +
              std::to_string(barrier.expected) + " arrivals and " + std::to_string(barrier.bytes) +
              " bytes in phase " + std::to_string(barrier.phase);
  for (size_t id = 1; id < machine->block.named.size(); ++id)
    if (const NamedBarrier& barrier = machine->block.named[id]; barrier.arrived)
      text += "; named barrier " + std::to_string(id) + " has " + std::to_string(barrier.arrived) +
              " of " + std::to_string(barrier.threads) + " threads";
  return text;
}

}  // namespace emulsion::emulator
