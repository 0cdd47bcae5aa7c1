#include "memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace emulsion::emulator {
namespace {

constexpr size_t red_zone = 256;
constexpr int poison_byte = 0xff;
constexpr uint64_t nobody = 0xffffff, many = 0xfffffe;

void* reserve(size_t bytes) {
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
  return block;
}

size_t rounded(size_t bytes) { return (bytes + red_zone - 1) / red_zone * red_zone + red_zone; }

// The states of an access: whether all bytes are allocated and, for a read, written.
const char* judge(const uint8_t* states, size_t bytes, bool reads) {
  bool all_allocated = true, all_written = true;
  for (size_t i = 0; i < bytes; ++i) {
    all_allocated &= states[i] != outside;
    all_written &= states[i] == written;
  }
  if (!all_allocated) return "out of bounds";
  if (reads && !all_written) return "read of bytes that nothing has written";
  return nullptr;
}

}  // namespace

GlobalMemory& global_memory() {
  static GlobalMemory memory;
  return memory;
}

GlobalMemory::GlobalMemory()
    : base_(static_cast<char*>(reserve(arena_bytes))),
      states_(static_cast<uint8_t*>(reserve(arena_bytes))),
      marks_(static_cast<uint64_t*>(reserve(arena_bytes * sizeof(uint64_t)))) {
  end_ = red_zone;
}

void* GlobalMemory::acquire(size_t bytes) {
  std::lock_guard lock(mutex_);
  const size_t size = rounded(bytes);
  char* block;
  auto& free = free_[size];
  if (!free.empty()) {
    block = static_cast<char*>(free.back());
    free.pop_back();
  } else {
    if (size > arena_bytes - end_) return nullptr;
    block = base_ + end_;
    end_ += size;
  }
  std::memset(block, poison_byte, bytes);
  std::memset(states_ + (block - base_), unwritten, bytes);
  blocks_[block] = bytes;
  return block;
}

void GlobalMemory::release(void* block, size_t bytes) {
  std::lock_guard lock(mutex_);
  std::memset(states_ + (static_cast<char*>(block) - base_), outside, bytes);
  blocks_.erase(static_cast<char*>(block));
  free_[rounded(bytes)].push_back(block);
}

void GlobalMemory::write_from_host(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  mark_written(to, bytes);
}

void GlobalMemory::read_to_host(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

void GlobalMemory::mark_written(void* pointer, size_t bytes) {
  std::memset(states_ + (static_cast<char*>(pointer) - base_), written, bytes);
}

void GlobalMemory::begin_launch() {
  launch_ = (launch_ + 1) & 0xffff;
  if (launch_ != 0) return;
  std::memset(marks_, 0, end_ * sizeof(uint64_t));  // numbers come again
  launch_ = 1;
}

const char* GlobalMemory::check(const void* pointer, size_t bytes, bool reads) const {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes) return "misaligned";
  return judge(states_ + (static_cast<const char*>(pointer) - base_), bytes, reads);
}

const char* GlobalMemory::access(const void* pointer, size_t bytes, bool write, uint32_t block) {
  const size_t at = static_cast<size_t>(static_cast<const char*>(pointer) - base_);
  if (const char* wrong = check(pointer, bytes, !write)) return wrong;
  if (write) std::memset(states_ + at, written, bytes);
  const uint64_t self = block % many;
  for (size_t i = at; i < at + bytes; ++i) {
    uint64_t mark = marks_[i];
    if (mark >> 48 != launch_) mark = launch_ << 48 | nobody << 24 | nobody;
    const uint64_t writer = mark >> 24 & nobody, reader = mark & nobody;
    if (writer != nobody && writer != self)
      return write ? "race: another block of the grid writes the same bytes"
                   : "race: another block of the grid writes what this one reads";
    if (write) {
      if (reader != nobody && reader != self)
        return "race: another block of the grid reads what this one writes";
      mark = (mark & ~(nobody << 24)) | self << 24;
    } else {
      mark = (mark & ~nobody) | (reader == nobody || reader == self ? self : many);
    }
    marks_[i] = mark;
  }
  return nullptr;
}

std::string GlobalMemory::describe(const void* pointer) {
  std::lock_guard lock(mutex_);
  const char* at = static_cast<const char*>(pointer);
  auto next = blocks_.upper_bound(at);
  if (next == blocks_.begin()) return "global memory before the first block";
  const auto& [block, bytes] = *std::prev(next);
  const size_t offset = static_cast<size_t>(at - block);
  const std::string size = " a global block of " + std::to_string(bytes) + " bytes";
  if (offset < bytes) return "byte " + std::to_string(offset) + " of" + size;
  return std::to_string(offset - bytes) + " bytes past the end of" + size;
}

SharedMemory::SharedMemory()
    : base_(static_cast<char*>(reserve(capacity))), states_(capacity), cells_(capacity / 2) {}

void SharedMemory::begin_block(size_t dynamic_bytes) {
  std::memset(base_, poison_byte, used_);
  std::memset(states_.data(), outside, used_);
  statics_.clear();
  dynamic_bytes_ = dynamic_bytes;
  used_ = dynamic_bytes ? rounded(dynamic_bytes) : 0;
  std::memset(base_, poison_byte, dynamic_bytes);
  std::memset(states_.data(), unwritten, dynamic_bytes);
}

void* SharedMemory::static_array(const char* file, int line, size_t bytes) {
  for (const Static& each : statics_)
    if (each.line == line && each.file == file && each.bytes == bytes) return each.data;
  if (used_ + rounded(bytes) > capacity) throw std::bad_alloc();
  char* data = base_ + used_;
  used_ += rounded(bytes);
  std::memset(data, poison_byte, bytes);
  std::memset(states_.data() + (data - base_), unwritten, bytes);
  statics_.push_back({file, line, data, bytes});
  return data;
}

const char* SharedMemory::check(const void* pointer, size_t bytes, bool reads) const {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes) return "misaligned";
  return judge(states_.data() + (static_cast<const char*>(pointer) - base_), bytes, reads);
}

const char* SharedMemory::access(const void* pointer, size_t bytes, bool write, const Moment& now) {
  if (const char* wrong = check(pointer, bytes, !write)) return wrong;
  const size_t at = static_cast<size_t>(static_cast<const char*>(pointer) - base_);
  if (write) std::memset(states_.data() + at, written, bytes);
  const auto unordered = [&](const Moment& before) {
    return before.barrier == now.barrier && before.thread != now.thread &&
           (before.thread / 32 != now.thread / 32 || before.collective == now.collective);
  };
  for (size_t i = at / 2; i < (at + bytes + 1) / 2; ++i) {
    Cell& cell = cells_[i];
    if (unordered(cell.writer))
      return write ? "race: another thread writes the same bytes, no barrier between"
                   : "race: another thread wrote these bytes, no barrier between";
    if (write) {
      if (unordered(cell.reader) || unordered(cell.other))
        return "race: another thread reads these bytes, no barrier between";
      cell.writer = now;
    } else {
      if (cell.reader.thread / 32 != now.thread / 32) cell.other = cell.reader;
      cell.reader = now;
    }
  }
  return nullptr;
}

void SharedMemory::mark_written(void* pointer, size_t bytes) {
  std::memset(states_.data() + (static_cast<char*>(pointer) - base_), written, bytes);
}

void SharedMemory::poison(void* pointer, size_t bytes) {
  std::memset(pointer, poison_byte, bytes);
  std::memset(states_.data() + (static_cast<char*>(pointer) - base_), unwritten, bytes);
}

std::string SharedMemory::describe(const void* pointer) const {
  const char* at = static_cast<const char*>(pointer);
  for (const Static& each : statics_)
    if (at >= each.data && at < each.data + each.bytes)
      return "byte " + std::to_string(at - each.data) + " of the shared array at " + each.file +
             ":" + std::to_string(each.line);
  return "byte " + std::to_string(at - base_) + " of shared memory, " +
         std::to_string(dynamic_bytes_) + " of them dynamic";
}

}  // namespace emulsion::emulator
