// The memory of the emulated device, and what is known about every byte of it.
//
// Global memory is one arena: blocks with red zones between them. Each byte is outside of every
// block, allocated, or written; fresh memory reads as 0xff (a NaN in every float type). Per launch
// each byte remembers which block of the grid wrote and read it: blocks have no order, so a byte
// that one writes and another touches is a race, unless by atomics.
//
// Shared memory is an arena of one block of the grid, with the same states, and per two bytes the
// last writer and readers with the barriers and warp collectives they had passed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace emulsion::emulator {

enum State : uint8_t { outside = 0, unwritten = 1, written = 2 };

class GlobalMemory {
 public:
  GlobalMemory();

  // Memory as `bytes` asks for, exactly; nullptr when the arena is full.
  void* acquire(size_t bytes);
  void release(void* block, size_t bytes);
  void write_from_host(void* to, const void* from, size_t bytes);
  void read_to_host(void* to, const void* from, size_t bytes);

  bool contains(const void* pointer) const {
    return static_cast<size_t>(static_cast<const char*>(pointer) - base_) < arena_bytes;
  }
  // A grid begins: no block has touched anything.
  void begin_launch();

  // What is wrong with an access of block number `block`; nullptr if nothing is.
  const char* access(const void* pointer, size_t bytes, bool write, uint32_t block);
  // As access, without marks: atomics and copy engines order themselves.
  const char* check(const void* pointer, size_t bytes, bool reads) const;
  void mark_written(void* pointer, size_t bytes);

  // Where a pointer lies, in words.
  std::string describe(const void* pointer);

 private:
  static constexpr size_t arena_bytes = size_t{8} << 30;

  char* base_;
  uint8_t* states_;  // one a byte
  uint64_t* marks_;  // one a byte: launch 16 | writer 24 | reader 24
  size_t end_ = 0;
  uint64_t launch_ = 0;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // by rounded size
  std::map<const char*, size_t> blocks_;       // live ones
};

GlobalMemory& global_memory();

// A thread's place in the order of a block: the barriers all have passed, and its warp's
// collectives.
struct Moment {
  uint32_t barrier = 0;
  uint16_t thread = 0;
  uint16_t collective = 0;
};

class SharedMemory {
 public:
  static constexpr size_t capacity = size_t{256} << 10;

  SharedMemory();

  // A block of the grid begins, with this much dynamic shared memory.
  void begin_block(size_t dynamic_bytes);
  char* dynamic() const { return base_; }
  // A static array, known by its place in the source; the same for all threads of the block.
  void* static_array(const char* file, int line, size_t bytes);
  size_t used() const { return used_; }

  bool contains(const void* pointer) const {
    return static_cast<size_t>(static_cast<const char*>(pointer) - base_) < capacity;
  }
  const char* access(const void* pointer, size_t bytes, bool write, const Moment& now);
  const char* check(const void* pointer, size_t bytes, bool reads) const;
  void mark_written(void* pointer, size_t bytes);
  // An asynchronous copy is on its way here: nothing to read before it is delivered.
  void poison(void* pointer, size_t bytes);
  std::string describe(const void* pointer) const;

 private:
  struct Cell {  // of two bytes
    Moment writer, reader, other;
  };
  struct Static {
    const char* file;
    int line;
    char* data;
    size_t bytes;
  };

  char* base_;
  std::vector<uint8_t> states_;
  std::vector<Cell> cells_;
  std::vector<Static> statics_;
  size_t dynamic_bytes_ = 0, used_ = 0;
};

}  // namespace emulsion::emulator
