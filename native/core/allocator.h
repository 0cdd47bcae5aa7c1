// A caching allocator for one device, used from the thread that enqueues work. Freed blocks are
// reused in queue order: whoever gets a block enqueues its use behind the work of the previous
// owner, so nothing ever waits for a free. Small blocks come back in a few fixed sizes, large ones
// are pieces of segments (segments.h). Memory goes back to the system only when more is free than
// of late was wanted, on empty_cache(), or when an allocation would fail otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "core/segments.h"

namespace emulsion {

struct MemoryStats {
  int64_t live_bytes = 0;    // held by tensors
  int64_t peak_bytes = 0;    // highest live_bytes so far
  int64_t cached_bytes = 0;  // free blocks kept for reuse
  int64_t graph_bytes = 0;   // free blocks that a recorded graph keeps for its next run
  int64_t live_blocks = 0;
  int64_t allocations = 0;  // since the start, cache hits included
};

// Where an allocator gets raw memory: system calls of the device, in queue order for the release.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  virtual void* acquire(size_t bytes) = 0;  // nullptr when there is none
  virtual void release(void* block, size_t bytes) = 0;
};

// Whether freed blocks are kept for reuse, or each request is served by its source in its exact
// size: then a source can watch the borders and the lifetime of every block.
enum class Reuse { cached, none };

// Blocks by their size.
using FreeBlocks = std::map<size_t, std::vector<void*>>;

// Memory that recorded graphs use in turns. Large blocks of it are the allocator's segments', which
// know it as their owner.
struct GraphPool {
  FreeBlocks small;
};

constexpr int64_t no_limit = INT64_MAX;

class CachingAllocator {
 public:
  explicit CachingAllocator(MemorySource& source, Reuse reuse = Reuse::cached)
      : source_(source), reuse_(reuse) {}
  ~CachingAllocator() { empty_cache(); }

  void* allocate(size_t bytes);
  void free(void* block, size_t bytes);
  void empty_cache();
  void reset_peak() { stats_.peak_bytes = stats_.live_bytes; }
  const MemoryStats& stats() const { return stats_; }

  // Caps what is held of the source, cached blocks included. What is live already stays.
  void set_limit(int64_t bytes);
  int64_t limit() const { return limit_; }

  // From here to close_pool() blocks are marked as the pool's: freed ones return to it and to
  // nobody else, because a recorded graph reads and writes at their addresses.
  void open_pool(GraphPool& pool) { open_ = &pool; }
  void close_pool() { open_ = nullptr; }
  // Makes ordinary blocks of the pool's, free ones and those still live.
  void dissolve_pool(GraphPool& pool);
  bool is_pooled(void* block, size_t bytes) const {
    return in_segment(block_size(bytes)) ? segments_.owner_of(block) != nullptr
                                         : pooled_.count(block) > 0;
  }

 private:
  // What may still be live beside what is, or belongs to recorded graphs.
  int64_t room() const { return limit_ - stats_.live_bytes - stats_.graph_bytes; }
  // The size a request is served with.
  size_t block_size(size_t bytes) const;
  // Whether a block of this size is a piece of a segment.
  bool in_segment(size_t size) const;
  void* take_cached(size_t size);
  void* take_pooled(size_t size);
  void note_pooled(void* block, size_t size);
  // Gets memory from the system for a block of this size; false when there is none.
  bool refill(size_t size);
  void give_back(void* block, size_t size);
  // Gives free memory back to the system until at most so much of it is left. What is left of a
  // segment of which a part is in use stays.
  void trim(int64_t keep);
  void release(void* block, size_t size);

  MemorySource& source_;
  const Reuse reuse_;
  FreeBlocks cache_;  // small blocks, or all where nothing is reused
  Segments segments_;
  GraphPool* open_ = nullptr;
  std::unordered_map<void*, GraphPool*> pooled_;  // of blocks that are no pieces
  int64_t limit_ = no_limit;
  // Most that was live at once: in the last few thousand allocations, and in as many before them.
  int64_t late_peak_ = 0, earlier_peak_ = 0;
  MemoryStats stats_;
};

}  // namespace emulsion
