// A tensor in global memory as a bulk copy sees it: what the driver's tensor maps hold.
#pragma once

#include <cstdint>

namespace emulsion::emulator {

struct alignas(64) Tensor {
  void* base;
  int rank;
  int element;         // bytes
  int swizzle;         // bytes of a row whose 16-byte chunks change places: 0, 32, 64 or 128
  uint32_t box[5];     // elements, innermost first
  uint64_t extent[5];  // elements
  uint64_t stride[5];  // bytes; the first is `element`
};

// The place of a byte under a swizzle, by its address in shared memory.
inline uint32_t swizzled(uint32_t address, int swizzle) {
  switch (swizzle) {
    case 128: return address ^ (address >> 7 & 7) << 4;
    case 64: return address ^ (address >> 7 & 3) << 4;
    case 32: return address ^ (address >> 7 & 1) << 4;
    default: return address;
  }
}

}  // namespace emulsion::emulator
