// Attention's kernels for Hopper, and which calls take them.
#pragma once

#include "cuda/attention_backward.cuh"
#include "cuda/host.h"

namespace emulsion::cuda::attention {

// Two warpgroups multiply, 64 rows of a block each; a thread of a third asks for copies.
struct HopperBlock {
  static constexpr int warps = 8, threads = 32 * (warps + 4), rows = 128;
  static constexpr int line = 128;  // bytes
};

// Whether this device has the kernels, bulk copies can read the tensors, and tiles of 128 queries
// by 128 keys are not mostly padding: 77 keys took an H100 longer this way.
template <class Stored>
bool gains_by_hopper(const Inputs<Stored>& in) {
  constexpr int least_queries = 128, least_keys = 128;
  return in.packs && in.D <= widest_fused && in.T >= least_queries && in.S >= least_keys &&
         hopper_level();
}

// How many rows of the other side a block of a backward pass takes at once, or half as many.
constexpr int hopper_columns = 64;

// The passes of bfloat16 or float16.
template <class Stored>
void hopper_forward(const Inputs<Stored>& in, Stored* y, float* lse);
template <Side side, class Stored>
void hopper_backward(const Inputs<Stored>& in, const Cut& cut, const Gradients<Stored>& out,
                     const Shares& shares);

}  // namespace emulsion::cuda::attention
