#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <sstream>

#include "core/errors.h"

namespace emulsion {
namespace {

// A miss returns old blocks to the system first when this much is free, and more than is live:
// shapes that no longer occur must not pin memory for ever.
constexpr int64_t cache_floor = int64_t{256} << 20;
// But what was live at once of late, and a little for blocks that do not fit, is kept: between two
// steps of a training little is live, and the next step wants all of it again.
constexpr int64_t spare = cache_floor / 2;
constexpr int64_t allocations_of_late = 8192;

// A block of this size, or nullptr.
void* take(FreeBlocks& blocks, size_t size) {
  const auto found = blocks.find(size);
  if (found == blocks.end()) return nullptr;
  void* block = found->second.back();
  found->second.pop_back();
  if (found->second.empty()) blocks.erase(found);
  return block;
}

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
  if (open_ && (block = take(*open_, size)))
    stats_.graph_bytes -= static_cast<int64_t>(size);
  else if ((block = take(cache_, size)))
    stats_.cached_bytes -= static_cast<int64_t>(size);
  else
    block = acquire(size);
  if (!block) {
    std::ostringstream most;
    if (limit_ != no_limit) most << " (the limit is " << limit_ << ")";
    fail(ErrorCode::out_of_memory, "out of memory: asked for ", bytes, " bytes while ",
         stats_.live_bytes, " bytes in ", stats_.live_blocks, " blocks are live", most.str(),
         "; dispose tensors (tidy, scope), use smaller batches or checkpoint()");
  }
  if (open_) pooled_[block] = open_;
  stats_.live_bytes += static_cast<int64_t>(size);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  if (stats_.allocations % allocations_of_late == 0) {
    earlier_peak_ = late_peak_;
    late_peak_ = 0;
  }
  late_peak_ = std::max(late_peak_, stats_.live_bytes);
  ++stats_.live_blocks;
  ++stats_.allocations;
  return block;
}

// A new block, or nullptr. While a pool is open nothing goes back to the system: a device that
// records cannot do that.
void* CachingAllocator::acquire(size_t size) {
  const int64_t wanted_again = std::max(late_peak_, earlier_peak_) - stats_.live_bytes + spare;
  if (!open_ && stats_.cached_bytes > std::max({cache_floor, stats_.live_bytes, wanted_again}))
    trim(stats_.cached_bytes / 2);
  const int64_t room = limit_ - stats_.live_bytes - stats_.graph_bytes;
  if (room < 0 || size > static_cast<uint64_t>(room)) return nullptr;
  const int64_t cacheable = room - static_cast<int64_t>(size);
  if (stats_.cached_bytes > cacheable) {
    if (open_) return nullptr;
    trim(cacheable);
  }
  void* block = source_.acquire(size);
  if (block || open_) return block;
  empty_cache();
  return source_.acquire(size);
}

void CachingAllocator::free(void* block, size_t bytes) {
  const size_t size = block_size(bytes);
  stats_.live_bytes -= static_cast<int64_t>(size);
  --stats_.live_blocks;
  if (!pooled_.empty()) {
    const auto found = pooled_.find(block);
    if (found != pooled_.end()) {
      (*found->second)[size].push_back(block);
      stats_.graph_bytes += static_cast<int64_t>(size);
      return;
    }
  }
  give_back(block, size);
}

void CachingAllocator::give_back(void* block, size_t size) {
  if (reuse_ == Reuse::none) return source_.release(block, size);
  cache_[size].push_back(block);
  stats_.cached_bytes += static_cast<int64_t>(size);
}

void CachingAllocator::dissolve_pool(FreeBlocks& pool) {
  if (open_ == &pool) open_ = nullptr;
  std::erase_if(pooled_, [&](const auto& entry) { return entry.second == &pool; });
  for (const auto& [size, blocks] : pool)
    for (void* block : blocks) {
      stats_.graph_bytes -= static_cast<int64_t>(size);
      give_back(block, size);
    }
  pool.clear();
}

void CachingAllocator::set_limit(int64_t bytes) {
  limit_ = bytes;
  if (limit_ != no_limit)
    trim(std::max<int64_t>(0, limit_ - stats_.live_bytes - stats_.graph_bytes));
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
