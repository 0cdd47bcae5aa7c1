// The table of tensors that JavaScript holds, by number. An id carries its slot's generation, so
// that a stale or invented one is recognised and refused. Used from the JavaScript thread alone:
// reference counts need no atomics, because queued work holds plain pointers that queue order keeps
// valid.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/device.h"
#include "core/view.h"

namespace emulsion {

// A block of device memory shared by the views of one tensor.
struct Storage {
  Device* device;
  void* block;
  size_t bytes;
  int64_t references;
};

class Handles {
 public:
  struct Slot {
    View view;
    Storage* storage = nullptr;
    uint32_t generation = 0;
  };

  static constexpr int slot_bits = 24;

  double create(Storage* storage, const View& view) {
    uint32_t index;
    if (free_.empty()) {
      EMULSION_CHECK(slots_.size() < (size_t{1} << slot_bits),
                     "too many live tensors: ", slots_.size());
      index = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      index = free_.back();
      free_.pop_back();
    }
    Slot& slot = slots_[index];
    slot.view = view;
    slot.view.present = true;
    slot.storage = storage;
    ++storage->references;
    ++slot.generation;
    return static_cast<double>((static_cast<uint64_t>(slot.generation & 0x1fffffffu) << slot_bits) |
                               index);
  }

  // nullptr for an id that names no live tensor.
  Slot* find(double id) {
    if (!(id >= 0) || id >= 9007199254740992.0 || id != std::floor(id)) return nullptr;
    const uint64_t bits = static_cast<uint64_t>(id);
    const uint64_t index = bits & ((uint64_t{1} << slot_bits) - 1);
    if (index >= slots_.size()) return nullptr;
    Slot& slot = slots_[index];
    if (!slot.storage || (slot.generation & 0x1fffffffu) != bits >> slot_bits) return nullptr;
    return &slot;
  }

  void release(Slot* slot) {
    Storage* storage = slot->storage;
    slot->storage = nullptr;
    free_.push_back(static_cast<uint32_t>(slot - slots_.data()));
    unreference(storage);
  }

  static void unreference(Storage* storage) {
    if (--storage->references > 0) return;
    storage->device->allocator().free(storage->block, storage->bytes);
    delete storage;
  }

  void release_all() {
    for (Slot& slot : slots_)
      if (slot.storage) release(&slot);
  }

  // The largest live blocks of a device, for who wants to know what fills it: one tensor of each.
  std::vector<const Slot*> largest(const Device& device, size_t most) const {
    std::unordered_map<const Storage*, const Slot*> blocks;
    for (const Slot& slot : slots_)
      if (slot.storage && slot.storage->device == &device) blocks.try_emplace(slot.storage, &slot);
    std::vector<const Slot*> list;
    for (const auto& [storage, slot] : blocks) list.push_back(slot);
    const auto larger = [](const Slot* a, const Slot* b) {
      return a->storage->bytes != b->storage->bytes ? a->storage->bytes > b->storage->bytes : a < b;
    };
    std::sort(list.begin(), list.end(), larger);
    list.resize(std::min(list.size(), most));
    return list;
  }

  int64_t count() const { return static_cast<int64_t>(slots_.size() - free_.size()); }

 private:
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace emulsion
