// Attention's kernels for Hopper, and which calls take them.
#pragma once

#include "cuda/attention_tile.cuh"
#include "cuda/host.h"

namespace emulsion::cuda::attention {

// Whether this device has the kernels, bulk copies can read the tensors, and tiles of 128 queries
// by 128 keys are not mostly padding. The bounds are estimates that await a device.
template <class Stored>
bool gains_by_hopper(const Inputs<Stored>& in) {
  constexpr int least_queries = 128, least_keys = 128;
  return in.packs && in.D <= widest_fused && in.T >= least_queries && in.S >= least_keys &&
         hopper_level();
}

// attention_forward of bfloat16 or float16.
template <class Stored>
void hopper_forward(const Inputs<Stored>& in, Stored* y, float* lse);

}  // namespace emulsion::cuda::attention
