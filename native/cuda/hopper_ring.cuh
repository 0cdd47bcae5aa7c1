// What kernels for Hopper share: places in a ring of tiles that bulk copies fill, and the matrix
// descriptors of tiles with 128-byte swizzled rows.
#pragma once

#include "cuda/descriptor.cuh"

namespace emulsion::cuda {

// A place in the ring, and the parity of the phase in which it is filled.
template <int stages>
struct RingPlace {
  int stage = 0, parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
  __device__ __forceinline__ int previous() const { return (stage > 0 ? stage : stages) - 1; }
};

// The barriers of a ring, by one thread: so many arrivals say that a stage is full, so many that it
// has been read.
template <int stages>
__device__ __forceinline__ void init_ring(uint64_t* full, uint64_t* empty, int writers,
                                          int readers) {
  for (int i = 0; i < stages; ++i) {
    mbarrier_init(full + i, writers);
    mbarrier_init(empty + i, readers);
  }
}

// Descriptors of an operand at `offset` bytes from a tile and a step of 16 along the depth, which
// is contiguous in rows of 64 elements, `stride` bytes between groups of 8 rows, or, transposed,
// counts rows: `block` bytes lead from 64 elements of the other side to the next ones. Only the
// lower halves differ.
template <bool transposed, int block = 64 * 128>
class TileDescriptors {
 public:
  __device__ __forceinline__ explicit TileDescriptors(const unsigned char* tile,
                                                      int stride = 8 * 128)
      : first_(wgmma_descriptor(tile, transposed ? block : 16, stride, Swizzle::bytes128)) {}
  __device__ __forceinline__ uint64_t operator()(int offset, int step) const {
    constexpr int bytes = transposed ? 16 * 128 : 32;
    const auto low = static_cast<uint32_t>(first_) + ((offset + step * bytes) >> 4);
    return (first_ >> 32 << 32) | low;
  }

 private:
  const uint64_t first_;
};

}  // namespace emulsion::cuda
