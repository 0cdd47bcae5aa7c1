#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "machine.h"

namespace emulsion::emulator {
namespace {

// A mark: launch 16 | writer 20 | bytes written 4 | reader 20 | bytes read 4. A writer's top bit:
// by atomics only.
constexpr uint64_t block_bits = 20, atomic_bit = uint64_t{1} << 19;
constexpr uint64_t nobody = atomic_bit - 1, many = atomic_bit - 2, apart = atomic_bit - 3;
constexpr uint64_t launch_numbers = 0xffff;

constexpr uint64_t compose(uint64_t launch, uint64_t writer, uint64_t wrote, uint64_t reader,
                           uint64_t read) {
  return launch << 48 | writer << 28 | wrote << 24 | reader << 4 | read;
}

constexpr size_t most_resting = size_t{32} << 20, worth_returning = size_t{1} << 20;
constexpr size_t most_searched = size_t{1} << 20;

// The room of a block: itself and a gap as wide again, within limits, so that a wrong stride does
// not end in a neighbour.
size_t room(size_t bytes) {
  return rounded(bytes) + std::clamp(rounded(bytes), red_zone, size_t{64} << 10);
}

void give_back(void* begin, size_t bytes) {
  const auto first = rounded(reinterpret_cast<size_t>(begin), 4096);
  const auto last = (reinterpret_cast<size_t>(begin) + bytes) / 4096 * 4096;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace

void* reserve(size_t bytes) {
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
  return block;
}

GlobalMemory& global_memory() {
  static GlobalMemory& memory = *new GlobalMemory;  // outlives every thread that may still free
  return memory;
}

GlobalMemory::GlobalMemory()
    : base_(static_cast<char*>(reserve(arena_bytes))),
      states_(static_cast<State*>(reserve(arena_bytes))),
      words_(static_cast<uint64_t*>(reserve(arena_bytes * 2))),
      bytes_(static_cast<uint64_t*>(reserve(arena_bytes * 8))) {}

void* GlobalMemory::acquire(size_t bytes) {
  std::lock_guard lock(mutex_);
  const size_t size = room(bytes);
  char* block = nullptr;
  for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
    if (hole->second < size) continue;
    block = hole->first;
    const size_t rest = hole->second - size;
    free_.erase(hole);
    if (rest) free_[block + size] = rest;
    break;
  }
  if (!block) {
    if (size > arena_bytes - end_) return nullptr;
    block = base_ + end_;
    end_ += size;
  }
  std::memset(block, poison_byte, bytes);
  std::memset(states_ + (block - base_), unwritten, bytes);
  live_[block] = bytes;
  return block;
}

void GlobalMemory::release(void* block, size_t bytes) {
  std::lock_guard lock(mutex_);
  auto* begin = static_cast<char*>(block);
  std::memset(states_ + (begin - base_), outside, bytes);
  live_.erase(begin);
  resting_.push_back({begin, bytes});
  resting_bytes_ += bytes;
  while (resting_bytes_ > most_resting || resting_.size() > 4096) {
    recycle(resting_.front());
    resting_bytes_ -= resting_.front().bytes;
    resting_.pop_front();
  }
}

void GlobalMemory::recycle(const Freed& freed) {
  if (freed.bytes >= worth_returning) {
    const size_t at = static_cast<size_t>(freed.begin - base_);
    give_back(freed.begin, freed.bytes);
    give_back(states_ + at, freed.bytes);
    give_back(words_ + at / 4, freed.bytes * 2);
    give_back(bytes_ + at, freed.bytes * 8);
  }
  char* begin = freed.begin;
  size_t size = room(freed.bytes);
  auto next = free_.upper_bound(begin);
  if (next != free_.end() && begin + size == next->first) {
    size += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      before->second += size;
      return;
    }
  }
  free_[begin] = size;
}

void GlobalMemory::write_from_host(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  std::memset(states_ + (static_cast<char*>(to) - base_), written, bytes);
}

Launch::Launch(const void* arguments, size_t bytes) {
  GlobalMemory& memory = global_memory();
  running_ = std::shared_lock(memory.running_);
  while ((number_ = ++memory.launches_ & launch_numbers) == 0) {
    // Numbers come again: what the marks remember must not.
    running_.unlock();
    {
      std::unique_lock alone(memory.running_);
      give_back(memory.words_, memory.end_ * 2 + 4096);
      give_back(memory.bytes_, memory.end_ * 8 + 4096);
    }
    running_.lock();
  }
  const char* at = static_cast<const char*>(arguments);
  for (size_t i = 0; i + sizeof(char*) <= bytes; i += sizeof(char*)) {
    const char* pointer;
    std::memcpy(&pointer, at + i, sizeof pointer);
    if (memory.contains(pointer)) memory.give(*this, pointer);
  }
}

void Launch::begin_block(uint32_t number) {
  self_ = number % apart;
  reads_ = compose(number_, nobody, 0, self_, 15);
  writes_ = compose(number_, self_, 15, nobody, 0);
  does_both_ = compose(number_, self_, 15, self_, 15);
  all_read_ = compose(number_, nobody, 0, many, 15);
}

// The live block that a pointer lies in.
bool GlobalMemory::block_of(const char* at, Launch::Range& found) {
  auto next = live_.upper_bound(at);
  if (next == live_.begin()) return false;
  --next;
  found = {next->first, next->second};
  return static_cast<size_t>(at - next->first) < next->second;
}

bool GlobalMemory::give(Launch& launch, const char* at) {
  std::lock_guard lock(mutex_);
  Launch::Range block;
  if (!block_of(at, block)) return false;
  for (const Launch::Range& each : launch.given_)
    if (each.begin == block.begin) return true;
  launch.given_.push_back(block);
  return true;
}

const Launch::Range* GlobalMemory::find(Launch& launch, const char* at, size_t bytes,
                                        const char*& wrong) {
  for (const auto& each : launch.given_) {
    const auto offset = static_cast<size_t>(at - each.begin);
    if (offset < each.bytes && each.bytes - offset >= bytes) return &each;
  }
  const AsHost host;
  Launch::Range block;
  {
    std::lock_guard lock(mutex_);
    if (!block_of(at, block)) {
      wrong = "out of bounds";
      for (const Freed& each : resting_)
        if (static_cast<size_t>(at - each.begin) < each.bytes) wrong = "use after release";
      return nullptr;
    }
  }
  if (block.bytes - static_cast<size_t>(at - block.begin) < bytes) {
    wrong = "out of bounds";
    return nullptr;
  }
  // Tables of pointers: what the given blocks point to is given too.
  for (size_t i = 0; i < launch.given_.size(); ++i) {
    const auto [begin, size] = launch.given_[i];
    for (size_t j = 0; j + sizeof(char*) <= std::min(size, most_searched); j += sizeof(char*)) {
      const char* pointer;
      std::memcpy(&pointer, begin + j, sizeof pointer);
      if (static_cast<size_t>(pointer - block.begin) >= block.bytes) continue;
      launch.given_.push_back(block);
      return &launch.given_.back();
    }
  }
  wrong = "out of bounds, in a block that no argument of the kernel points to";
  return nullptr;
}

// Notes an access to the bytes of `mask` in a mark. splits: the mark can't say it, bytes must.
Wrong GlobalMemory::mark(uint64_t& mark, const Launch& launch, uint64_t mask, Kind kind,
                         uint64_t self, bool& splits) {
  if (mark >> 48 != launch.number_) mark = compose(launch.number_, nobody, 0, nobody, 0);
  constexpr uint64_t ids = (uint64_t{1} << block_bits) - 1;
  uint64_t writer = mark >> 28 & ids, wrote = mark >> 24 & 15;
  uint64_t reader = mark >> 4 & ids, read = mark & 15;
  const bool by_atomics = writer & atomic_bit;
  const uint64_t who = writer & ~atomic_bit;
  const bool foreign = who != nobody && who != self;
  if (who == apart) {
    splits = true;
    return {};
  }
  const auto race = [](const char* what, uint64_t other) {
    Wrong wrong{what};
    if (other < apart) wrong.other_block = static_cast<int64_t>(other);
    return wrong;
  };
  if (foreign && (wrote & mask) && !(by_atomics && kind == Kind::atomic))
    return race(kind == Kind::read ? "race: another block of the grid writes what this one reads"
                                   : "race: another block of the grid writes the same bytes",
                who);
  if (kind == Kind::read) {
    if (reader == nobody || reader == self) {
      reader = self;
      read |= mask;
    } else if (reader != many && read == mask) {
      reader = many;
    } else if (reader != many || (mask & ~read)) {
      splits = true;
      return {};
    }
  } else {
    if (reader != nobody && reader != self && (read & mask))
      return race("race: another block of the grid reads what this one writes", reader);
    if (foreign && !(by_atomics && kind == Kind::atomic)) {
      splits = true;
      return {};
    }
    if (kind == Kind::write || who == nobody)
      writer = self | (kind == Kind::atomic ? atomic_bit : 0);
    else if (foreign)
      writer = many | atomic_bit;
    wrote |= mask;
  }
  mark = compose(launch.number_, writer, wrote, reader, read);
  return {};
}

Wrong GlobalMemory::access(Launch& launch, const void* pointer, size_t bytes, Kind kind) {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes) return {"misaligned"};
  const char* wrong = nullptr;
  if (!find(launch, static_cast<const char*>(pointer), bytes, wrong)) return {wrong};
  const size_t at = static_cast<size_t>(static_cast<const char*>(pointer) - base_);
  if (kind == Kind::write)
    std::memset(states_ + at, written, bytes);
  else if (!all_written(states_ + at, bytes))
    return {"read of bytes that nothing has written"};
  const uint64_t self = launch.self_;
  const uint64_t mask = bytes >= 4 ? 15 : ((uint64_t{1} << bytes) - 1) << at % 4;
  const size_t last = (at + bytes + 3) / 4;
  for (size_t word = at / 4; word < last; ++word) {
    bool splits = false;
    if (const Wrong race = mark(words_[word], launch, mask, kind, self, splits)) return race;
    if (!splits) continue;
    const uint64_t whole = words_[word];
    if ((whole >> 28 & (atomic_bit - 1)) != apart) {
      for (uint64_t i = 0; i < 4; ++i) {
        const bool wrote = whole >> (24 + i) & 1, read = whole >> i & 1;
        bytes_[4 * word + i] =
            compose(launch.number_, wrote ? whole >> 28 & ((1 << block_bits) - 1) : nobody, wrote,
                    read ? whole >> 4 & ((1 << block_bits) - 1) : nobody, read);
      }
      words_[word] = compose(launch.number_, apart, 0, nobody, 0);
    }
    for (uint64_t i = 0; i < 4; ++i)
      if (mask >> i & 1) {
        bool again = false;
        if (const Wrong race = mark(bytes_[4 * word + i], launch, 1, kind, self, again))
          return race;
      }
  }
  return {};
}

std::string GlobalMemory::describe(const void* pointer) {
  std::lock_guard lock(mutex_);
  const char* at = static_cast<const char*>(pointer);
  const auto words = [&](const char* block, size_t bytes, const char* kind) {
    const auto offset = static_cast<size_t>(at - block);
    const std::string of = kind + std::string(" block of ") + std::to_string(bytes) + " bytes";
    return offset < bytes ? "byte " + std::to_string(offset) + " of a " + of
                          : std::to_string(offset - bytes) + " bytes past the end of a " + of;
  };
  for (const Freed& each : resting_)
    if (static_cast<size_t>(at - each.begin) < each.bytes)
      return words(each.begin, each.bytes, "released global");
  auto next = live_.upper_bound(at);
  const auto before = next == live_.begin() ? live_.end() : std::prev(next);
  const auto to_next = next == live_.end() ? SIZE_MAX : static_cast<size_t>(next->first - at);
  const auto past = before == live_.end() ? SIZE_MAX : static_cast<size_t>(at - before->first);
  if (past != SIZE_MAX && (past < before->second || past - before->second <= to_next))
    return words(before->first, before->second, "global");
  if (to_next == SIZE_MAX) return "global memory without blocks";
  return std::to_string(to_next) + " bytes before a global block of " +
         std::to_string(next->second) + " bytes";
}

}  // namespace emulsion::emulator
