// Matrix descriptors of wgmma: where an operand's 8x8 (16-bit) core matrices lie in shared memory.
//
// Depth contiguous (swizzle s = 128, 64 or 32 bytes): rows of s bytes, `stride` bytes between
// groups of 8 rows, `leading` not looked at; the next 32 bytes of depth are 32 bytes further in the
// row. Depth contiguous without swizzle: 8 rows of 16 bytes lie together, `leading` bytes to the
// next 16 bytes of depth, `stride` to the next 8 rows. Transposed (16-bit types): the other side is
// contiguous in rows of s bytes, one row for each step of depth, `stride` bytes between groups of 8
// steps and `leading` between blocks of s bytes.
//
// Addresses are counted from the descriptor's start, then the bits of the result are swizzled: so
// tiles start at multiples of 8 s bytes, but an operand may begin at any of their rows, and groups
// of 8 rows be any number of rows apart (all shifts of 3x3 filters, 10 to 18 rows apart, exact on
// an H100).
#pragma once

#include "cuda/ptx.cuh"

namespace emulsion::cuda {

enum class Swizzle : uint64_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

__device__ __forceinline__ uint64_t wgmma_descriptor(const void* tile, int leading, int stride,
                                                     Swizzle swizzle) {
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>((bytes & 0x3ffff) >> 4); };
  return field(shared_address(tile)) | field(static_cast<uint32_t>(leading)) << 16 |
         field(static_cast<uint32_t>(stride)) << 32 | static_cast<uint64_t>(swizzle) << 62;
}

}  // namespace emulsion::cuda
