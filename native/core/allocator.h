// A caching allocator for one device, used from the thread that enqueues work. Freed blocks are
// reused in queue order: whoever gets a block enqueues its use behind the work of the previous
// owner, so nothing ever waits for a free. Memory goes back to the system only when the cache
// outgrows its limit, on empty_cache(), or when an allocation would fail otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace emulsion {

struct MemoryStats {
  int64_t live_bytes = 0;    // held by tensors
  int64_t peak_bytes = 0;    // highest live_bytes so far
  int64_t cached_bytes = 0;  // free blocks kept for reuse
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

 private:
  // The size a request is served with.
  size_t block_size(size_t bytes) const;
  void trim(int64_t keep);

  MemorySource& source_;
  const Reuse reuse_;
  std::map<size_t, std::vector<void*>> cache_;  // by block size
  MemoryStats stats_;
};

}  // namespace emulsion
