#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <sstream>

#include "core/errors.h"
#include "core/huge_pages.h"

namespace emulsion {
namespace {

// Larger blocks are pieces of segments: of this size at least, so that weights lie beside each
// other, and of whole huge pages. What of a segment no tensor has touched costs address space
// alone.
constexpr size_t large = size_t{64} << 10;
constexpr size_t page = size_t{4} << 10;
constexpr size_t least_segment = size_t{32} << 20;
// A miss first returns what is free beyond the most that was live at once of late, and a little for
// pieces that do not fit: shapes that no longer occur must not pin memory for ever. But between two
// steps of a training little is live, and the next step wants all of it again.
constexpr int64_t least_spare = int64_t{64} << 20;
constexpr int64_t allocations_of_late = 8192;

size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

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
// the same few sizes come back. Large blocks are whole pages.
size_t CachingAllocator::block_size(size_t bytes) const {
  if (reuse_ == Reuse::none) return bytes;
  if (bytes <= 1024) return std::max<size_t>(64, round_up(bytes, 64));
  return round_up(bytes, bytes > large ? page : std::bit_floor(bytes - 1) / 8);
}

bool CachingAllocator::in_segment(size_t size) const {
  return size > large && reuse_ == Reuse::cached;
}

void* CachingAllocator::allocate(size_t bytes) {
  const size_t size = block_size(bytes);
  void* block = nullptr;
  if (open_ && (block = take_pooled(size)))
    stats_.graph_bytes -= static_cast<int64_t>(size);
  else if (static_cast<int64_t>(size) <= room() &&
           ((block = take_cached(size)) || (refill(size) && (block = take_cached(size)))))
    stats_.cached_bytes -= static_cast<int64_t>(size);
  if (!block) {
    std::ostringstream most;
    if (limit_ != no_limit) most << " (the limit is " << limit_ << ")";
    fail(ErrorCode::out_of_memory, "out of memory: asked for ", bytes, " bytes while ",
         stats_.live_bytes, " bytes in ", stats_.live_blocks, " blocks are live", most.str(),
         "; dispose tensors (tidy, scope), use smaller batches or checkpoint()");
  }
  if (open_) note_pooled(block, size);
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

void* CachingAllocator::take_cached(size_t size) {
  return in_segment(size) ? segments_.take(size) : take(cache_, size);
}

void* CachingAllocator::take_pooled(size_t size) {
  return in_segment(size) ? segments_.take(size, open_) : take(open_->small, size);
}

void CachingAllocator::note_pooled(void* block, size_t size) {
  if (in_segment(size))
    segments_.set_owner(block, open_);
  else
    pooled_[block] = open_;
}

// While a pool is open nothing goes back to the system: a device that records cannot do that.
bool CachingAllocator::refill(size_t size) {
  const int64_t wanted = static_cast<int64_t>(size), after = stats_.live_bytes + wanted;
  const int64_t most = std::max({late_peak_, earlier_peak_, after});
  if (!open_) trim(most - after + std::max(least_spare, most / 32));
  const int64_t cacheable = room() - wanted;
  if (stats_.cached_bytes > cacheable && !open_) trim(cacheable);
  if (stats_.cached_bytes > cacheable) return false;
  const bool piece = in_segment(size);
  size_t bytes = piece ? std::max(least_segment, round_up(size, huge_page)) : size;
  if (static_cast<int64_t>(bytes) > room() - stats_.cached_bytes) bytes = size;
  void* memory = source_.acquire(bytes);
  if (!memory) {
    if (!open_) empty_cache();
    memory = source_.acquire(bytes = size);
  }
  if (!memory) return false;
  stats_.cached_bytes += static_cast<int64_t>(bytes);
  if (piece)
    segments_.add({memory, bytes});
  else
    cache_[bytes].push_back(memory);
  return true;
}

void CachingAllocator::free(void* block, size_t bytes) {
  const size_t size = block_size(bytes);
  stats_.live_bytes -= static_cast<int64_t>(size);
  --stats_.live_blocks;
  if (in_segment(size) && segments_.owner_of(block)) {
    segments_.give_back(block);
    stats_.graph_bytes += static_cast<int64_t>(size);
    return;
  }
  if (!pooled_.empty()) {
    const auto found = pooled_.find(block);
    if (found != pooled_.end()) {
      found->second->small[size].push_back(block);
      stats_.graph_bytes += static_cast<int64_t>(size);
      return;
    }
  }
  give_back(block, size);
}

void CachingAllocator::give_back(void* block, size_t size) {
  if (reuse_ == Reuse::none) return source_.release(block, size);
  stats_.cached_bytes += static_cast<int64_t>(size);
  if (in_segment(size))
    segments_.give_back(block);
  else
    cache_[size].push_back(block);
}

void CachingAllocator::dissolve_pool(GraphPool& pool) {
  if (open_ == &pool) open_ = nullptr;
  std::erase_if(pooled_, [&](const auto& entry) { return entry.second == &pool; });
  for (const auto& [size, blocks] : pool.small)
    for (void* block : blocks) {
      stats_.graph_bytes -= static_cast<int64_t>(size);
      give_back(block, size);
    }
  pool.small.clear();
  const auto pieces = static_cast<int64_t>(segments_.disown(&pool));
  stats_.graph_bytes -= pieces;
  stats_.cached_bytes += pieces;
}

void CachingAllocator::set_limit(int64_t bytes) {
  limit_ = bytes;
  if (limit_ != no_limit) trim(std::max<int64_t>(0, room()));
}

void CachingAllocator::trim(int64_t keep) {
  // Largest first: they are the least likely to fit anything else.
  while (stats_.cached_bytes > keep) {
    const Segments::Segment segment = segments_.remove_unused();
    if (!segment.begin) break;
    release(segment.begin, segment.size);
  }
  while (stats_.cached_bytes > keep && !cache_.empty()) {
    const size_t size = std::prev(cache_.end())->first;
    release(take(cache_, size), size);
  }
}

void CachingAllocator::release(void* block, size_t size) {
  source_.release(block, size);
  stats_.cached_bytes -= static_cast<int64_t>(size);
}

void CachingAllocator::empty_cache() { trim(0); }

}  // namespace emulsion
