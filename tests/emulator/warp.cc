// Collectives of a warp, and asynchronous copies of its threads.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "report.h"

namespace emulsion::emulator {
namespace {

// What the lanes of `mask` know together, their own accesses included.
Known joined(uint32_t mask, size_t first) {
  const std::vector<Thread>& threads = machine->block.threads;
  Knowledge common(agents + threads.size());
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    publish(common, threads[first + static_cast<size_t>(__builtin_ctz(rest))]);
  return Known(std::move(common));
}

// The lanes of `mask` know of each other's accesses from here on.
void synchronise(uint32_t mask, size_t first) {
  std::vector<Thread>& threads = machine->block.threads;
  if (mask == all_lanes) {
    const uint64_t floor = machine->clock++;
    Known common = threads[first].now.knows;
    for (size_t i = 1; i < warp_size; ++i)
      if (!(threads[first + i].now.knows == common)) {
        common = joined(mask, first);
        break;
      }
    for (size_t i = 0; i < warp_size; ++i) {
      Moment& now = threads[first + i].now;
      now.warp_floor = floor;
      now.clock = machine->clock;
      if (!(now.knows == common)) now.knows = common;
    }
    return;
  }
  const Known common = joined(mask, first);
  ++machine->clock;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    Moment& now = threads[first + static_cast<size_t>(__builtin_ctz(rest))].now;
    now.knows = common;
    now.clock = machine->clock;
  }
}

struct Exchange {
  const void* value;
  void* result;
  int source;
};

template <class Word>
void exchange_all(void** lanes, uint32_t mask, const void*) {
  Word values[warp_size];
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const auto* own = static_cast<Exchange*>(lanes[lane]);
    std::memcpy(values + lane, own->value, sizeof(Word));
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const auto* own = static_cast<Exchange*>(lanes[__builtin_ctz(rest)]);
    if (mask >> own->source & 1)
      std::memcpy(own->result, values + own->source, sizeof(Word));
    else
      std::memset(own->result, poison_byte, sizeof(Word));
  }
}

struct Vote {
  uint32_t holds, result;
};

void count_votes(void** lanes, uint32_t mask, const void*) {
  uint32_t ballot = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    ballot |= static_cast<Vote*>(lanes[__builtin_ctz(rest)])->holds << __builtin_ctz(rest);
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    static_cast<Vote*>(lanes[__builtin_ctz(rest)])->result = ballot;
}

void deliver(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.to, copy.from, copy.bytes);
  else
    std::memset(copy.to, 0, copy.bytes);
  machine->shared.end_copy(copy.to, copy.bytes);
  if (const Wrong wrong =
          machine->shared.access(copy.to, copy.bytes, Kind::write, current->now, copy.site))
    stop(wrong, copy.to, copy.bytes, copy.site);
}

}  // namespace

void meet(uint32_t mask, void* mine, Compute compute, const void* site, bool ordered) {
  const auto number = static_cast<size_t>(current->number / warp_size);
  Warp& warp = machine->block.warps[number];
  const auto lane = static_cast<uint32_t>(current->number % warp_size);
  if (!(mask >> lane & 1)) stop("a lane takes part that its mask does not name, ", site);
  Meeting* found = nullptr;
  for (Meeting& each : warp.meetings) {
    if (!(each.mask & mask)) continue;
    if (each.mask == mask && (each.site == site || same_place(each.site, site))) {
      found = &each;
      break;
    }
    stop(each.mask == mask ? "lanes of one warp wait for each other at "
                           : "lanes of one warp name different masks, at ",
         each.site, " and at ", site);
  }
  if (!found) found = &warp.meetings.emplace_back(site, mask);
  found->arrived |= 1u << lane;
  found->lanes[lane] = mine;
  if (found->arrived != mask) return sleep("a warp collective", site);
  if (compute) {
    machine->block.computing = true;
    compute(found->lanes, mask, site);
    machine->block.computing = false;
  }
  if (found != &warp.meetings.back()) *found = warp.meetings.back();
  warp.meetings.pop_back();
  if (ordered) synchronise(mask, number * warp_size);
  wake(warp, number, mask & ~(1u << lane));
}

void exchange(uint32_t mask, const void* value, void* result, size_t bytes, int source,
              const void* site) {
  Exchange mine{value, result, source};
  struct Wide {
    uint64_t words[2];
  };
  const Compute compute = bytes == 4    ? exchange_all<uint32_t>
                          : bytes == 8  ? exchange_all<uint64_t>
                          : bytes == 2  ? exchange_all<uint16_t>
                          : bytes == 16 ? exchange_all<Wide>
                                        : exchange_all<uint8_t>;
  meet(mask, &mine, compute, site);
}

uint32_t vote(uint32_t mask, bool predicate, const void* site) {
  Vote mine{predicate, 0};
  meet(mask, &mine, count_votes, site);
  return mine.result;
}

void copy_async(void* to, const void* from, int bytes, bool valid, const void* site) {
  SharedMemory& shared = machine->shared;
  const auto size = static_cast<size_t>(bytes);
  if (!shared.contains(to)) stop({"cp.async to what is not shared memory"}, to, size, site);
  access(to, size, Kind::write, site);
  if (valid) {
    if (!machine->global.contains(from))
      stop({"cp.async from what is not global memory"}, from, size, site);
    access(from, size, Kind::read, site);
  }
  shared.begin_copy(to, size);
  current->copies.push_back({to, from, static_cast<uint32_t>(bytes), valid, site});
}

void commit_copies() { current->groups.push_back({static_cast<uint32_t>(current->copies.size())}); }

void await_copies(int pending, const void*) {
  Thread& self = *current;
  while (self.groups.size() - self.closed > static_cast<size_t>(pending)) {
    for (const uint32_t end = self.groups[self.closed].end; self.delivered < end; ++self.delivered)
      deliver(self.copies[self.delivered]);
    ++self.closed;
  }
  // What is delivered is forgotten once in a while.
  if (self.delivered < 256) return;
  self.copies.erase(self.copies.begin(), self.copies.begin() + self.delivered);
  self.groups.erase(self.groups.begin(), self.groups.begin() + self.closed);
  for (Group& group : self.groups) group.end -= self.delivered;
  self.delivered = self.closed = 0;
}

}  // namespace emulsion::emulator
