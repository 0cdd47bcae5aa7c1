// Shared memory of the running block: an arena with red zones between its arrays, a state for every
// byte, and for every word who wrote and read it last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "order.h"
#include "report.h"
#include "states.h"

namespace emulsion::emulator {

enum class Kind : uint8_t { read, write, atomic };

// What is wrong with an access: nothing, or what, and who did the other half of a race.
struct Wrong {
  static constexpr int nobody = -1000;
  const char* what = nullptr;
  int other = nobody;                // a thread of the block, or an agent: below zero
  const void* other_site = nullptr;  // where it did so
  int64_t other_block = -1;          // of the grid
  explicit operator bool() const { return what != nullptr; }
};

class SharedMemory {
 public:
  static constexpr size_t capacity = size_t{256} << 10;

  SharedMemory();

  // A block of the grid begins, with this much dynamic shared memory.
  void begin_block(size_t dynamic_bytes);
  char* dynamic() const { return base_; }
  // A static array, known by an address of its own; the same for all threads of the block. Null if
  // the arena is full.
  void* static_array(const void* tag, const char* file, int line, size_t bytes);
  // Bytes that the kernel has asked for, red zones not counted.
  size_t asked() const { return asked_; }
  size_t dynamic_bytes() const { return dynamic_bytes_; }

  bool contains(const void* pointer) const {
    return static_cast<size_t>(static_cast<const char*>(pointer) - base_) < capacity;
  }
  uint32_t offset(const void* pointer) const {
    return static_cast<uint32_t>(static_cast<const char*>(pointer) - base_);
  }
  char* at(uint32_t offset) const { return base_ + offset; }

  // What is wrong with an access. `bytes`: 1, 2, 4, 8 or 16.
  Wrong access(const void* pointer, size_t bytes, Kind kind, const Moment& now, const void* site);
  // Whether nothing is, found fast: for whole words that have been written.
  template <size_t bytes>
  bool is_right(const void* pointer, Kind kind, const Moment& now, const void* site) {
    if (bytes < 4 || reinterpret_cast<uintptr_t>(pointer) % bytes) return false;
    const size_t at = offset(pointer);
    if (!all_written(states_.data() + at, bytes)) return false;
    const uint32_t short_site = compact_site(site);
    for (size_t i = 0; i < bytes / 4; ++i) {
      Cell& cell = words_[at / 4 + i];
      if (cell.split || !touch(cell, kind, now, short_site)) return false;
    }
    return true;
  }
  // An asynchronous copy has been asked for: its bytes are nobody's until it is delivered.
  void begin_copy(void* pointer, size_t bytes);
  void end_copy(void* pointer, size_t bytes);
  // State of bytes that the caller has checked by other means.
  void set_states(void* pointer, size_t bytes, State state);
  // Calls each(stamp, site) for whoever has written these words, or their bytes, last.
  template <class Each>
  void for_writers(const void* pointer, size_t bytes, Each each) const {
    for (size_t word = offset(pointer) / 4; word < (offset(pointer) + bytes + 3) / 4; ++word)
      for (size_t i = 0; i < (words_[word].split ? 4 : 1); ++i) {
        const Cell& cell = words_[word].split ? bytes_[4 * word + i] : words_[word];
        each(cell.writer, cell.writer_site);
      }
  }
  std::string describe(const void* pointer) const;

 private:
  struct alignas(64) Cell {  // of a word, or of a byte
    Stamp writer = 0, atomic = 0;
    uint64_t readers[2] = {};  // clock << 6 | warp, agents' included
    uint32_t lanes[2] = {};    // of that warp
    // Where, as offsets from an address of this image.
    uint32_t reader_sites[2] = {}, writer_site = 0, atomic_site = 0;
    bool split = false;  // the four bytes have cells of their own
  };
  struct Split {
    uint32_t word;
  };
  struct Static {
    const void* tag;
    const char* file;
    int line;
    char* data;
    size_t bytes;
  };

  // Whether this moment knows of all reads that a slot of a cell remembers.
  static bool knows_of_readers(const Moment& now, const Cell& cell, int slot) {
    const uint64_t when = cell.readers[slot] >> 6;
    if (when <= now.floor) return true;
    const auto reader = static_cast<uint32_t>(cell.readers[slot] & 63);
    const uint32_t lanes = cell.lanes[slot], warp = now.id / 32u;
    if (reader == warp && (when <= now.warp_floor || lanes == 1u << now.id % 32)) return true;
    if (reader != warp && !now.knows) return false;
    for (uint32_t rest = lanes; rest; rest &= rest - 1)
      if (!now.knows_of(when, 32 * reader + static_cast<uint32_t>(__builtin_ctz(rest))))
        return false;
    return true;
  }

  // Notes an access in a cell, unless it is a race.
  static bool touch(Cell& cell, Kind kind, const Moment& now, uint32_t site) {
    if (!now.knows_of(cell.writer) || (kind != Kind::atomic && !now.knows_of(cell.atomic)))
      return false;
    if (kind != Kind::read) {
      if (!knows_of_readers(now, cell, 0) || !knows_of_readers(now, cell, 1)) return false;
      (kind == Kind::atomic ? cell.atomic : cell.writer) = now.stamp();
      (kind == Kind::atomic ? cell.atomic_site : cell.writer_site) = site;
      return true;
    }
    const uint32_t lane = 1u << now.id % 32;
    const uint64_t reader = now.clock << 6 | now.id / 32u;
    int slot = cell.readers[1] == reader;
    if (cell.readers[slot] == reader) {
      cell.lanes[slot] |= lane;
      return true;
    }
    // The older of two that are both unknown gives way: a race with it alone goes unseen.
    slot = knows_of_readers(now, cell, 0) ||
                   (!knows_of_readers(now, cell, 1) && cell.readers[0] < cell.readers[1])
               ? 0
               : 1;
    cell.readers[slot] = reader;
    cell.lanes[slot] = lane;
    cell.reader_sites[slot] = site;
    return true;
  }

  Wrong judge(const State* states, size_t bytes, Kind kind) const;
  static Wrong explain(const Cell& cell, Kind kind, const Moment& now);
  void split(size_t word);

  char* base_;
  std::vector<State> states_;
  std::vector<Cell> words_;
  std::vector<Cell> bytes_;  // of split words
  std::vector<Split> splits_;
  std::vector<Static> statics_;
  size_t dynamic_bytes_ = 0, asked_ = 0, used_ = 0;
};

}  // namespace emulsion::emulator
