#include "shared.h"

#include <algorithm>

#include "report.h"

namespace emulsion::emulator {
namespace {

constexpr const char* misaligned = "misaligned";
constexpr size_t words = SharedMemory::capacity / 4;

// Of the block; agents are below zero.
int thread_of(Stamp stamp) {
  return static_cast<int>(stamp & ((1u << id_bits) - 1)) - static_cast<int>(agents);
}

}  // namespace

SharedMemory::SharedMemory()
    : base_(static_cast<char*>(reserve(capacity))), states_(capacity), words_(words) {}

void SharedMemory::begin_block(size_t dynamic_bytes) {
  std::memset(base_, poison_byte, used_);
  std::memset(states_.data(), outside, used_);
  statics_.clear();
  // Clocks never come again: what cells remember of other blocks lies below every floor.
  for (const Split& split : splits_) words_[split.word] = Cell{};
  splits_.clear();
  dynamic_bytes_ = asked_ = dynamic_bytes;
  used_ = dynamic_bytes ? rounded(dynamic_bytes) + red_zone : 0;
  std::memset(base_, poison_byte, dynamic_bytes);
  std::memset(states_.data(), unwritten, dynamic_bytes);
}

void* SharedMemory::static_array(const void* tag, const char* file, int line, size_t bytes) {
  for (const Static& each : statics_)
    if (each.tag == tag) return each.data;
  const size_t size = rounded(bytes) + red_zone;
  if (used_ + size > capacity) return nullptr;
  char* data = base_ + used_;
  used_ += size;
  asked_ += rounded(bytes, 16);
  std::memset(data, poison_byte, bytes);
  std::memset(states_.data() + (data - base_), unwritten, bytes);
  statics_.push_back({tag, file, line, data, bytes});
  return data;
}

Wrong SharedMemory::judge(const State* states, size_t bytes, Kind kind) const {
  bool arrives = false, is_unwritten = false;
  for (size_t i = 0; i < bytes; ++i) {
    if (states[i] == outside) return {"out of bounds"};
    arrives |= states[i] == arriving;
    is_unwritten |= states[i] == unwritten;
  }
  if (arrives)
    return {
        kind == Kind::read
            ? "read of bytes that an asynchronous copy is bringing: nothing has waited for it"
            : "write to bytes that an asynchronous copy is bringing: nothing has waited for it"};
  if (kind != Kind::write && is_unwritten) return {"read of bytes that nothing has written"};
  return {};
}

// Why touch refused.
Wrong SharedMemory::explain(const Cell& cell, Kind kind, const Moment& now) {
  const bool by_write = !now.knows_of(cell.writer);
  if (by_write || (kind != Kind::atomic && !now.knows_of(cell.atomic)))
    return {kind == Kind::read ? "race: another thread writes what this one reads"
                               : "race: another thread writes the same bytes",
            thread_of(by_write ? cell.writer : cell.atomic),
            expand_site(by_write ? cell.writer_site : cell.atomic_site)};
  const int slot = knows_of_readers(now, cell, 0) ? 1 : 0;
  const auto warp = static_cast<uint32_t>(cell.readers[slot] & 63);
  uint32_t lanes = cell.lanes[slot];
  if (warp == now.id / 32u) lanes &= ~(1u << now.id % 32);
  return {"race: another thread reads what this one writes",
          static_cast<int>(32 * warp) + __builtin_ctz(lanes) - static_cast<int>(agents),
          expand_site(cell.reader_sites[slot])};
}

Wrong SharedMemory::access(const void* pointer, size_t bytes, Kind kind, const Moment& now,
                           const void* site) {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes) return {misaligned};
  const size_t at = static_cast<size_t>(static_cast<const char*>(pointer) - base_);
  State* states = states_.data() + at;
  if (!all_written(states, bytes)) {
    if (Wrong wrong = judge(states, bytes, kind)) {
      const Cell& cell = words_[at / 4].split ? bytes_[at] : words_[at / 4];
      for (size_t i = 0; i < bytes; ++i)
        if (states[i] == arriving && cell.writer) {
          wrong.other = thread_of(cell.writer);
          wrong.other_site = expand_site(cell.writer_site);
        }
      return wrong;
    }
    std::memset(states, written, bytes);
  }
  const uint32_t short_site = compact_site(site);
  if (bytes >= 4) {
    for (size_t word = at / 4; word < (at + bytes) / 4; ++word) {
      if (words_[word].split) {
        for (size_t i = 4 * word; i < 4 * word + 4; ++i)
          if (!touch(bytes_[i], kind, now, short_site)) return explain(bytes_[i], kind, now);
      } else if (!touch(words_[word], kind, now, short_site)) {
        return explain(words_[word], kind, now);
      }
    }
    return {};
  }
  if (!words_[at / 4].split) split(at / 4);
  for (size_t i = at; i < at + bytes; ++i)
    if (!touch(bytes_[i], kind, now, short_site)) return explain(bytes_[i], kind, now);
  return {};
}

void SharedMemory::split(size_t word) {
  if (bytes_.empty()) bytes_.resize(capacity);
  for (size_t i = 4 * word; i < 4 * word + 4; ++i) bytes_[i] = words_[word];
  words_[word].split = true;
  splits_.push_back({static_cast<uint32_t>(word)});
}

void SharedMemory::begin_copy(void* pointer, size_t bytes) {
  std::memset(pointer, poison_byte, bytes);
  set_states(pointer, bytes, arriving);
}

void SharedMemory::end_copy(void* pointer, size_t bytes) { set_states(pointer, bytes, written); }

void SharedMemory::set_states(void* pointer, size_t bytes, State state) {
  std::memset(states_.data() + (static_cast<char*>(pointer) - base_), state, bytes);
}

std::string SharedMemory::describe(const void* pointer) const {
  const char* at = static_cast<const char*>(pointer);
  for (const Static& each : statics_)
    if (at >= each.data && at < each.data + each.bytes + red_zone)
      return "byte " + std::to_string(at - each.data) + " of the shared array of " +
             std::to_string(each.bytes) + " bytes at " + short_path(each.file) + ":" +
             std::to_string(each.line);
  return "byte " + std::to_string(at - base_) + " of " + std::to_string(dynamic_bytes_) +
         " bytes of dynamic shared memory";
}

}  // namespace emulsion::emulator
