#include "core/huge_pages.h"

#include <cstdint>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace emulsion {
namespace {

size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

}  // namespace

// Blocks are mapped one by one: in the heap, those so aligned leave holes between them that nothing
// fits, and a process that takes and gives back a few hundred MB would swell to gigabytes.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
void* acquire_huge(size_t bytes) {
  const size_t size = round_up(bytes, huge_page);
  void* mapped =
      mmap(nullptr, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(mapped);
  const size_t before =
      round_up(reinterpret_cast<uintptr_t>(begin), huge_page) - reinterpret_cast<uintptr_t>(begin);
  if (before > 0) munmap(begin, before);
  if (before < huge_page) munmap(begin + before + size, huge_page - before);
  madvise(begin + before, size, MADV_HUGEPAGE);
  return begin + before;
}
void release_huge(void* block, size_t bytes) { munmap(block, round_up(bytes, huge_page)); }
#else
void* acquire_huge(size_t bytes) {
  return std::aligned_alloc(huge_page, round_up(bytes, huge_page));
}
void release_huge(void* block, size_t) { std::free(block); }
#endif

}  // namespace emulsion
