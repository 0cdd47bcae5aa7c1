// Bulk copies of boxes of tensors (TMA): asked for by one thread, carried out at some later moment.
#include <algorithm>
#include <cstring>

#include "machine.h"

namespace emulsion::emulator {
namespace {

int64_t box_bytes(const Tensor& map) {
  int64_t bytes = map.element;
  for (int i = 0; i < map.rank; ++i) bytes *= map.box[i];
  return bytes;
}

// Calls each(offset in the box, pointer or null where the tensor ends) for every 16 bytes.
template <class Each>
void for_chunks(const BulkCopy& copy, Each each) {
  const Tensor& map = copy.map;
  const int64_t row = int64_t{map.box[0]} * map.element, total = box_bytes(map);
  for (int64_t start = 0; start < total; start += row) {
    char* pointer = static_cast<char*>(map.base);
    bool inside = true;
    int64_t rest = start / row;
    for (int i = 1; i < map.rank; ++i) {
      const int64_t at = copy.at[i] + rest % map.box[i];
      rest /= map.box[i];
      inside &= at >= 0 && at < static_cast<int64_t>(map.extent[i]);
      pointer += at * static_cast<int64_t>(map.stride[i]);
    }
    for (int64_t i = 0; i < row; i += map.element) {
      const int64_t at = copy.at[0] + i / map.element;
      const bool in_row = inside && at >= 0 && at < static_cast<int64_t>(map.extent[0]);
      each(start + i, in_row ? pointer + at * map.element : nullptr);
    }
  }
}

uint32_t place(const BulkCopy& copy, int64_t offset) {
  return swizzled(copy.offset + static_cast<uint32_t>(offset), copy.map.swizzle);
}

void carry_out(const BulkCopy& copy) {
  const auto size = static_cast<size_t>(copy.map.element);
  SharedMemory& shared = machine->shared;
  for_chunks(copy, [&](int64_t offset, char* pointer) {
    char* here = shared.at(place(copy, offset));
    if (copy.load) {
      if (pointer)
        std::memcpy(here, pointer, size);
      else
        std::memset(here, 0, size);
    } else if (pointer) {
      std::memcpy(pointer, here, size);
    }
  });
  if (copy.load) {
    const int64_t bytes = box_bytes(copy.map);
    shared.end_copy(shared.at(copy.offset), static_cast<size_t>(bytes));
    complete_bytes(copy.barrier, bytes, copy.clock);
  }
}

BulkCopy& ask(const Tensor& map, const void* shared, const int* at, const void* site) {
  if (!machine->shared.contains(shared))
    stop({"a bulk copy to or from what is not shared memory"}, shared, 16, site);
  if (map.rank < 1 || map.rank > 5) stop("a tensor map that nothing has made, ", site);
  const uint32_t offset = machine->shared.offset(shared);
  if (offset % (map.swizzle ? 8 * static_cast<uint32_t>(map.swizzle) : 128))
    stop({"misaligned for a bulk copy: 128 bytes, or 8 rows of a swizzle"}, shared, 16, site);
  BulkCopy& copy = machine->block.jobs.emplace_back();
  copy.map = map;
  copy.offset = offset;
  for (int i = 0; i < map.rank; ++i) copy.at[i] = at[i];
  copy.site = site;
  copy.thread = current;
  return copy;
}

}  // namespace

uint32_t shared_offset(const void* pointer) { return machine->shared.offset(pointer); }

void bulk_load(void* to, const Tensor& map, uint64_t* mbarrier, const int* at, const void* site) {
  const size_t barrier = mbarrier_of_copy(mbarrier, site);
  BulkCopy& copy = ask(map, to, at, site);
  copy.load = true;
  copy.barrier = barrier;
  const Moment agent = moment_of_agent(static_cast<uint32_t>(barrier), *current);
  copy.clock = agent.clock;
  const auto bytes = static_cast<size_t>(box_bytes(map));
  for (size_t i = 0; i < bytes; i += 16)
    access_as_agent(agent, copy.offset + static_cast<uint32_t>(i), 16, Kind::write, site);
  const auto size = static_cast<size_t>(map.element);
  for_chunks(copy, [&](int64_t, char* pointer) {
    if (pointer) access(pointer, size, Kind::read, site);
  });
  machine->shared.begin_copy(to, bytes);
}

void bulk_store(const Tensor& map, const void* from, const int* at, const void* site) {
  BulkCopy& copy = ask(map, from, at, site);
  copy.load = false;
  copy.group = current->stores;
  const Moment agent = moment_of_agent(store_agent, *current);
  copy.clock = agent.clock;
  current->store_groups.push_back({copy.group, agent.clock, site});
  const auto size = static_cast<size_t>(map.element);
  const auto bytes = static_cast<size_t>(box_bytes(map));
  for (size_t i = 0; i < bytes; i += 16)
    access_as_agent(agent, copy.offset + static_cast<uint32_t>(i), 16, Kind::read, site);
  for_chunks(copy, [&](int64_t, char* pointer) {
    if (pointer) access(pointer, size, Kind::write, site);
  });
}

void commit_stores() { ++current->stores; }

void await_stores(int pending, bool, const void*) {
  std::vector<BulkCopy>& jobs = machine->block.jobs;
  Thread& self = *current;
  uint64_t latest = 0;
  for (size_t i = 0; i < jobs.size();) {
    if (jobs[i].load || jobs[i].thread != &self ||
        jobs[i].group + static_cast<uint32_t>(pending) >= self.stores) {
      ++i;
      continue;
    }
    carry_out(jobs[i]);
    jobs.erase(jobs.begin() + static_cast<ptrdiff_t>(i));
  }
  // Its stores up to here have been read: who learns that may write there again.
  for (size_t i = 0; i < self.store_groups.size();) {
    if (self.store_groups[i].number + static_cast<uint32_t>(pending) >= self.stores) {
      ++i;
      continue;
    }
    latest = std::max(latest, self.store_groups[i].clock);
    self.store_groups[i] = self.store_groups.back();
    self.store_groups.pop_back();
  }
  if (!latest) return;
  Knowledge news(agents + machine->block.threads.size());
  news[store_agent].time = latest;
  acquire(self, Known(std::move(news)));
}

void run_jobs() {
  std::vector<BulkCopy>& jobs = machine->block.jobs;
  do {
    const uint32_t pick = machine->roll(static_cast<uint32_t>(jobs.size()));
    // Late more often than not; and always, when nobody can go on.
    if (machine->block.ready && machine->roll(8)) return;
    const BulkCopy copy = jobs[pick];
    jobs.erase(jobs.begin() + static_cast<ptrdiff_t>(pick));
    carry_out(copy);
  } while (!jobs.empty() && !machine->block.ready);
}

}  // namespace emulsion::emulator
