// Memory in huge pages, where the system has them: what is read in strides then needs a handful of
// TLB entries, on a virtual machine at two levels each.
#pragma once

#include <cstddef>

namespace emulsion {

constexpr size_t huge_page = size_t{2} << 20;

// A multiple of huge pages that holds so many bytes, aligned to one; nullptr when there is none.
void* acquire_huge(size_t bytes);
void release_huge(void* block, size_t bytes);

}  // namespace emulsion
