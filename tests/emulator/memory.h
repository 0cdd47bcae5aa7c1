// The memory of the emulated device, and what is known about every byte of it.
//
// One arena holds blocks with red zones between them. Each byte is allocated or written; fresh
// memory reads as 0xff. A kernel may touch the blocks that its arguments point into, and those that
// these point to. Freed blocks rest before they are given out again, so that a late access is
// found. Per launch each word remembers which block of the grid wrote and read it: blocks have no
// order, so what one writes and another touches is a race, unless both are atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "shared.h"
#include "states.h"

namespace emulsion::emulator {

// A grid that runs: who it is in the marks of global memory, and the blocks it may touch.
class Launch {
 public:
  // The kernel's arguments, as bytes.
  Launch(const void* arguments, size_t bytes);
  void begin_block(uint32_t number);

 private:
  friend class GlobalMemory;
  struct Range {
    const char* begin;
    size_t bytes;
  };
  std::shared_lock<std::shared_mutex> running_;
  uint64_t number_;
  // Marks of words that the running block alone, or every block, has touched in this launch.
  uint64_t self_ = 0, reads_ = 0, writes_ = 0, does_both_ = 0, all_read_ = 0;
  std::vector<Range> given_;
  Range latest_{};  // of those
};

class GlobalMemory {
 public:
  GlobalMemory();

  // Memory as `bytes` asks for, exactly; nullptr when the arena is full.
  void* acquire(size_t bytes);
  void release(void* block, size_t bytes);
  void write_from_host(void* to, const void* from, size_t bytes);
  void read_to_host(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

  bool contains(const void* pointer) const {
    return static_cast<size_t>(static_cast<const char*>(pointer) - base_) < arena_bytes;
  }

  // What is wrong with an access of the running block. `bytes`: 1, 2, 4, 8 or 16.
  Wrong access(Launch& launch, const void* pointer, size_t bytes, Kind kind);
  // Whether nothing is, found fast: most accesses are to words that nobody else has touched.
  template <size_t bytes>
  bool is_right(Launch& launch, const void* pointer, Kind kind) {
    const char* at = static_cast<const char*>(pointer);
    if (bytes < 4 || reinterpret_cast<uintptr_t>(pointer) % bytes || kind == Kind::atomic)
      return false;
    const auto holds = [&](const Launch::Range& range) {
      const auto offset = static_cast<size_t>(at - range.begin);
      return offset < range.bytes && range.bytes - offset >= bytes;
    };
    if (!holds(launch.latest_)) {
      size_t i = 0;
      while (i < launch.given_.size() && !holds(launch.given_[i])) ++i;
      if (i == launch.given_.size()) return false;
      launch.latest_ = launch.given_[i];
    }
    const auto offset = static_cast<size_t>(at - base_);
    State* states = states_ + offset;
    uint64_t* marks = words_ + offset / 4;
    if (!all_written(states, bytes)) {
      if (kind == Kind::read) return false;
      std::memset(states, written, bytes);
    }
    for (size_t i = 0; i < bytes / 4; ++i) {
      const uint64_t mark = marks[i];
      const bool fresh = mark >> 48 != launch.number_;
      if (kind == Kind::read) {
        if (fresh)
          marks[i] = launch.reads_;
        else if (mark == launch.writes_)
          marks[i] = launch.does_both_;
        else if (mark != launch.reads_ && mark != launch.all_read_ && mark != launch.does_both_)
          return false;
      } else {
        if (fresh)
          marks[i] = launch.writes_;
        else if (mark == launch.reads_)
          marks[i] = launch.does_both_;
        else if (mark != launch.writes_ && mark != launch.does_both_)
          return false;
      }
    }
    return true;
  }

  // Where a pointer lies, in words.
  std::string describe(const void* pointer);
  // Bytes of the arena between its start and the last block.
  size_t reach() const { return end_; }

 private:
  friend class Launch;
  static constexpr size_t arena_bytes = size_t{16} << 30;
  struct Freed {
    char* begin;
    size_t bytes;
  };

  const Launch::Range* find(Launch& launch, const char* at, size_t bytes, const char*& wrong);
  bool give(Launch& launch, const char* at);
  Wrong mark(uint64_t& mark, const Launch& launch, uint64_t mask, Kind kind, uint64_t self,
             bool& splits);
  void recycle(const Freed& freed);
  bool block_of(const char* at, Launch::Range& found);

  char* base_;
  State* states_;    // one a byte
  uint64_t* words_;  // marks, one a word
  uint64_t* bytes_;  // marks, one a byte, of words that blocks share
  size_t end_ = red_zone;
  std::atomic<uint64_t> launches_ = 0;
  std::shared_mutex running_;           // shared by those that run, alone where numbers start anew
  std::mutex mutex_;                    // of what follows
  std::map<char*, size_t> free_;        // holes of the arena
  std::map<const char*, size_t> live_;  // blocks, with their bytes
  std::deque<Freed> resting_;
  size_t resting_bytes_ = 0;
};

GlobalMemory& global_memory();

}  // namespace emulsion::emulator
