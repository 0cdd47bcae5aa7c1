#include "core/allocator.h"

#include <algorithm>
#include <bit>

#include "core/errors.h"

namespace emulsion {
namespace {

// Beyond this a miss returns old blocks to the system first: shapes that no longer occur must not
// pin memory for ever.
constexpr int64_t cache_floor = int64_t{256} << 20;

}  // namespace

// 64-byte steps up to 1 KiB, then eight steps per power of two: at most an eighth is wasted, and
// the same few sizes come back.
size_t CachingAllocator::block_size(size_t bytes) const {
  if (reuse_ == Reuse::none) return bytes;
  if (bytes <= 1024) return std::max<size_t>(64, (bytes + 63) / 64 * 64);
  const size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

void* CachingAllocator::allocate(size_t bytes) {
  const size_t size = block_size(bytes);
  void* block = nullptr;
  auto found = cache_.find(size);
  if (found != cache_.end()) {
    block = found->second.back();
    found->second.pop_back();
    if (found->second.empty()) cache_.erase(found);
    stats_.cached_bytes -= static_cast<int64_t>(size);
  } else {
    if (stats_.cached_bytes > std::max(cache_floor, stats_.live_bytes))
      trim(stats_.cached_bytes / 2);
    block = source_.acquire(size);
    if (!block) {
      empty_cache();
      block = source_.acquire(size);
    }
    if (!block)
      fail(ErrorCode::out_of_memory, "out of memory: asked for ", bytes, " bytes while ",
           stats_.live_bytes, " bytes in ", stats_.live_blocks,
           " blocks are live; dispose tensors (tidy, scope), use smaller ",
           "batches or checkpoint()");
  }
  stats_.live_bytes += static_cast<int64_t>(size);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  ++stats_.live_blocks;
  ++stats_.allocations;
  return block;
}

void CachingAllocator::free(void* block, size_t bytes) {
  const size_t size = block_size(bytes);
  stats_.live_bytes -= static_cast<int64_t>(size);
  --stats_.live_blocks;
  if (reuse_ == Reuse::none) return source_.release(block, size);
  cache_[size].push_back(block);
  stats_.cached_bytes += static_cast<int64_t>(size);
}

void CachingAllocator::trim(int64_t keep) {
  // Largest first: they are the least likely to fit anything else.
  while (stats_.cached_bytes > keep && !cache_.empty()) {
    auto largest = std::prev(cache_.end());
    source_.release(largest->second.back(), largest->first);
    stats_.cached_bytes -= static_cast<int64_t>(largest->first);
    largest->second.pop_back();
    if (largest->second.empty()) cache_.erase(largest);
  }
}

void CachingAllocator::empty_cache() { trim(0); }

}  // namespace emulsion
