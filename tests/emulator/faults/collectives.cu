// Threads that do not meet.
#include "faults.h"

namespace emulsion::cuda {
namespace {

constexpr int threads = 64;

template <bool wrong>
__global__ void two_barriers(int* y) {
  if (threadIdx.x < 40) {
    y[threadIdx.x] = 1;
    if (wrong) __syncthreads();  // wrong: barrier_divergence
  } else {
    y[threadIdx.x] = 2;
    if (wrong) __syncthreads();  // also: barrier_divergence
  }
  __syncthreads();
}

// One barrier, of which the compiler makes several: the first turn is its own code.
__global__ void barrier_in_loop(int* y) {
  EMULSION_SHARED(int, value, [1]);
  int sum = 0;
#pragma GCC unroll 4
  for (int i = 0; i < 8; ++i) {
    if (threadIdx.x == 0) value[0] = i;
    __syncthreads();
    sum += value[0];
    __syncthreads();
  }
  y[threadIdx.x] = sum;
}

template <bool wrong>
__global__ void mask_without_caller(int* y) {
  const unsigned mask = wrong ? 0x7fffffffu : whole_warp;
  y[threadIdx.x] = __shfl_xor_sync(mask, 1, 1);  // wrong: mask_without_caller
}

template <bool wrong>
__global__ void different_masks(int* y) {
  const bool low = threadIdx.x % 32 < 16;
  const unsigned mask = low ? 0xffffu : wrong ? 0xffff8000u : 0xffff0000u;
  y[threadIdx.x] = __shfl_xor_sync(mask, 1, 1);  // wrong: different_masks
}

template <bool wrong>
__global__ void different_places(int* y) {
  int value;
  if (threadIdx.x % 32 < 16)
    value = __shfl_xor_sync(wrong ? whole_warp : 0xffffu, 1, 1);  // wrong: different_places
  else
    value = __shfl_xor_sync(wrong ? whole_warp : 0xffff0000u, 2, 1);  // also: different_places
  y[threadIdx.x] = value;
}

template <bool wrong>
__global__ void leave_early(int* y) {
  if (wrong && threadIdx.x == 33) return;
  y[threadIdx.x] = warp_reduce(1, Sum());  // wrong: lane_has_returned
}

template <bool wrong>
__global__ void barrier_and_shuffle(int* y) {
  if (wrong && threadIdx.x % 32 == 7) __syncthreads();  // wrong: barrier_and_shuffle
  y[threadIdx.x] = __shfl_xor_sync(whole_warp, 1, 1);   // also: barrier_and_shuffle
  if (!wrong || threadIdx.x % 32 != 7) __syncthreads();
}

// Threads may return before a barrier that the others reach.
template <bool wrong>
__global__ void shuffle_from_outside(int* y) {
  const unsigned half = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
  const int value = __shfl_xor_sync(half, static_cast<int>(threadIdx.x), wrong ? 16 : 8);
  if (value < 0) y[1000] = 1;  // wrong: shuffle_from_outside
}

template <auto kernel>
void run() {
  Buffer<int> y(threads);
  launch("case", kernel, Grid{1, threads}, (int*)y);
}
template <unsigned count>
void run_small_block() {
  Buffer<int> y(threads);
  launch("case", leave_early<false>, Grid{1, count}, (int*)y);
}

}  // namespace

const std::vector<Case> collective_cases = {
    {"barrier_divergence", run<two_barriers<true>>, run<two_barriers<false>>},
    {"barrier_in_loop", nullptr, run<barrier_in_loop>},
    {"mask_without_caller", run<mask_without_caller<true>>, run<mask_without_caller<false>>},
    {"different_masks", run<different_masks<true>>, run<different_masks<false>>},
    {"different_places", run<different_places<true>>, run<different_places<false>>},
    {"lane_has_returned", run<leave_early<true>>, run<leave_early<false>>},
    {"half_a_warp", run_small_block<48>, run_small_block<64>},
    {"barrier_and_shuffle", run<barrier_and_shuffle<true>>, run<barrier_and_shuffle<false>>},
    {"shuffle_from_outside", run<shuffle_from_outside<true>>, run<shuffle_from_outside<false>>},
};

}  // namespace emulsion::cuda
