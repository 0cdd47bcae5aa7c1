// What attention's kernels for Hopper share: heads as boxes for bulk copies, weights as operands,
// and two warpgroups that take turns with the tensor cores.
//
// A tile is some rows of a head, 64 channels to a line of 128 bytes, swizzled, slab after slab;
// zeros where the tensor ends.
#pragma once

#include "cuda/attention_hopper.h"
#include "cuda/hopper_ring.cuh"
#include "cuda/tensor_map.h"

namespace emulsion::cuda::attention {

// Copies rows of one head, from `row` on.
template <int slabs, int rows>
__device__ __forceinline__ void load_head(unsigned char* tile, const TensorMap& map, uint64_t* full,
                                          int head, int row, int n) {
#pragma unroll
  for (int i = 0; i < slabs; ++i)
    bulk_load(tile + i * rows * HopperBlock::line, map, full, {64 * i, head, row, n});
}

// What a product left in a thread, as the left operand of the next one.
template <class Stored, int tiles>
__device__ __forceinline__ void pack_weights(uint32_t (&a)[tiles / 2][4],
                                             const float (&weights)[1][tiles][4]) {
#pragma unroll
  for (int k = 0; k < tiles / 2; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      a[k][i] = pack2<Stored>(weights[0][2 * k + i / 2][i % 2 * 2],
                              weights[0][2 * k + i / 2][i % 2 * 2 + 1]);
}

// The list of accumulators that wgmma takes.
template <int tiles>
__device__ __forceinline__ float (&list(float (&c)[1][tiles][4]))[4 * tiles] {
  return reinterpret_cast<float(&)[4 * tiles]>(c);
}

// Whose turn it is with the tensor cores: one warpgroup asks for products while the other computes
// weights. Named barriers 1 and 2; both pass and take equally often.
class Turns {
 public:
  __device__ __forceinline__ explicit Turns(int group) : group_(group) {
    if (group_ == 1) pass();
  }
  __device__ __forceinline__ void take() const { barrier_sync(1 + group_, threads); }
  __device__ __forceinline__ void pass() const { barrier_arrive(2 - group_, threads); }
  // Behind the last products.
  __device__ __forceinline__ void end() const {
    if (group_ == 0) pass();
  }

 private:
  static constexpr int threads = 32 * HopperBlock::warps;
  const int group_;
};

// Until all four warps of a warpgroup are here.
__device__ __forceinline__ void sync_group(int group) { barrier_sync(3 + group, 128); }

// Boxes of rows of one head by 64 channels, by the coordinates (channel, head, row, n) in a tensor
// [N, rows, K, D].
template <class Stored>
TensorMap head_map(const Stored* tensor, const Inputs<Stored>& in, int rows, int box_rows) {
  constexpr DType dtype = __is_same(Stored, bfloat16) ? DType::bfloat16 : DType::float16;
  constexpr int64_t size = sizeof(Stored);
  const int64_t line = size * in.D * in.K;
  return make_tensor_map("attention", tensor, dtype,
                         {4,
                          {in.D, in.K, rows, in.N},
                          {size, size * in.D, line, line * rows},
                          {64, 1, box_rows, 1},
                          128});
}

}  // namespace emulsion::cuda::attention
