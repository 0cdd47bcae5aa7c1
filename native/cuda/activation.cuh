// The activations that matrix kernels apply to their results, value and slope, by the functors of
// ops/elementwise.h.
#pragma once

#include "cuda/device.cuh"
#include "ops/elementwise.h"
#include "ops/linear.h"

namespace emulsion::cuda {

__device__ __forceinline__ float silu(float x) {
  return elementwise::Silu::value(Lane<float>(x), 0.0f, 0.0f).v;
}
__device__ __forceinline__ float silu_slope(float x) {
  return elementwise::Silu::slope(Lane<float>(x), 0.0f, 0.0f).v;
}
// x·Φ(x), the exact form
__device__ __forceinline__ float gelu(float x) {
  return elementwise::Gelu::value(Lane<float>(x), 0.0f, 0.0f).v;
}
__device__ __forceinline__ float gelu_slope(float x) {
  return elementwise::Gelu::slope(Lane<float>(x), 0.0f, 0.0f).v;
}

// Of the three that work element by element.
__device__ __forceinline__ float activate(float x, Activation activation) {
  return activation == Activation::silu ? silu(x) : activation == Activation::gelu ? gelu(x) : x;
}
__device__ __forceinline__ float activation_slope(float x, Activation activation) {
  return activation == Activation::silu   ? silu_slope(x)
         : activation == Activation::gelu ? gelu_slope(x)
                                          : 1.0f;
}

}  // namespace emulsion::cuda
