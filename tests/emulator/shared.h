// Shared memory of the running block: an arena with red zones between its arrays, a state for every
// byte, and for every word who wrote and read it last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "order.h"
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

  // `bytes`: 1, 2, 4, 8 or 16.
  Wrong access(const void* pointer, size_t bytes, Kind kind, const Moment& now, const void* site);
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
  struct Cell {  // of a word, or of a byte
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

  Wrong judge(const State* states, size_t bytes, Kind kind) const;
  static bool touch(Cell& cell, Kind kind, const Moment& now, uint32_t site);
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
