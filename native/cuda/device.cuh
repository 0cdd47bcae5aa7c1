// What kernels share: indices, packed loads, arithmetic on stored types, reductions over a warp and
// a block.
#pragma once

#include <cuda_runtime.h>

#include "core/dtype.h"
#include "cuda/ptx.cuh"

namespace emulsion::cuda {

constexpr unsigned whole_warp = 0xffffffffu;

// Of the thread in its grid along x, and the grid's threads along x: the start and the step of a
// grid-stride loop.
__device__ __forceinline__ int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x & 31); }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x >> 5); }

// ---- stored types: arithmetic on bfloat16 and float16 happens in float32

template <class T>
__device__ __forceinline__ Accumulator<T> widen(T value) {
  if constexpr (__is_same(T, float16))
    return half_to_float(value);
  else if constexpr (__is_same(T, bfloat16))
    return to_float(value);
  else
    return value;
}

template <class T>
__device__ __forceinline__ T narrow(Accumulator<T> value) {
  if constexpr (__is_same(T, float16))
    return float_to_half(value);
  else if constexpr (__is_same(T, bfloat16))
    return float_to_bfloat(value);
  else
    return value;
}

// As many elements as one 16-byte access holds, or fewer.
template <class T, int count = static_cast<int>(16 / sizeof(T))>
struct alignas(sizeof(T) * count) Pack {
  static constexpr int size = count;
  T values[count];
};

template <class T, int count = static_cast<int>(16 / sizeof(T))>
__device__ __forceinline__ Pack<T, count> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, count>*>(from);
}
template <class T, int count>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, count>& pack) {
  *reinterpret_cast<Pack<T, count>*>(to) = pack;
}

// ---- one number as ops/elementwise.h computes with it

template <class T>
struct Lane {
  T v;
  Lane() = default;
  __device__ __forceinline__ explicit Lane(T value) : v(value) {}
};

#define EMULSION_LANE_OPERATOR(symbol)                                       \
  template <class T>                                                         \
  __device__ __forceinline__ Lane<T> operator symbol(Lane<T> a, Lane<T> b) { \
    return Lane<T>(static_cast<T>(a.v symbol b.v));                          \
  }
EMULSION_LANE_OPERATOR(+)
EMULSION_LANE_OPERATOR(-)
EMULSION_LANE_OPERATOR(*)
EMULSION_LANE_OPERATOR(/)
#undef EMULSION_LANE_OPERATOR
#define EMULSION_LANE_RELATION(symbol)                                    \
  template <class T>                                                      \
  __device__ __forceinline__ bool operator symbol(Lane<T> a, Lane<T> b) { \
    return a.v symbol b.v;                                                \
  }
EMULSION_LANE_RELATION(<)
EMULSION_LANE_RELATION(>)
EMULSION_LANE_RELATION(<=)
EMULSION_LANE_RELATION(>=)
EMULSION_LANE_RELATION(==)
#undef EMULSION_LANE_RELATION
template <class T>
__device__ __forceinline__ Lane<T> operator-(Lane<T> a) {
  return Lane<T>(static_cast<T>(-a.v));
}
template <class T>
__device__ __forceinline__ Lane<T> select(bool condition, Lane<T> yes, Lane<T> no) {
  return condition ? yes : no;
}
template <class T>
__device__ __forceinline__ Lane<T> max(Lane<T> a, Lane<T> b) {
  return a.v > b.v ? a : b;
}
template <class T>
__device__ __forceinline__ Lane<T> min(Lane<T> a, Lane<T> b) {
  return a.v < b.v ? a : b;
}
template <class T>
__device__ __forceinline__ Lane<T> abs(Lane<T> a) {
  if constexpr (__is_same(T, float))
    return Lane<T>(fabsf(a.v));
  else if constexpr (T(-1) < T(0))
    return a.v < T(0) ? -a : a;
  else
    return a;
}

#define EMULSION_LANE_FUNCTION(name, function) \
  __device__ __forceinline__ Lane<float> name(Lane<float> a) { return Lane<float>(function(a.v)); }
EMULSION_LANE_FUNCTION(sqrt, sqrtf)
EMULSION_LANE_FUNCTION(exp, expf)
EMULSION_LANE_FUNCTION(expm1, expm1f)
EMULSION_LANE_FUNCTION(log, logf)
EMULSION_LANE_FUNCTION(log1p, log1pf)
EMULSION_LANE_FUNCTION(sin, sinf)
EMULSION_LANE_FUNCTION(cos, cosf)
EMULSION_LANE_FUNCTION(floor, floorf)
EMULSION_LANE_FUNCTION(ceil, ceilf)
EMULSION_LANE_FUNCTION(nearbyint, rintf)
EMULSION_LANE_FUNCTION(erf, erff)
EMULSION_LANE_FUNCTION(erfc, erfcf)
EMULSION_LANE_FUNCTION(tanh, tanhf)
#undef EMULSION_LANE_FUNCTION
__device__ __forceinline__ Lane<float> pow(Lane<float> a, Lane<float> b) {
  return Lane<float>(powf(a.v, b.v));
}
__device__ __forceinline__ Lane<float> sigmoid(Lane<float> a) {
  const float e = expf(-fabsf(a.v)), s = __fdividef(1.0f, 1.0f + e);
  return Lane<float>(a.v < 0 ? e * s : s);
}
// An exact quotient takes more instructions than the memory beside it leaves time for.
__device__ __forceinline__ Lane<float> silu(Lane<float> a) {
  return Lane<float>(__fdividef(a.v, 1.0f + expf(-a.v)));
}
__device__ __forceinline__ Lane<float> softplus(Lane<float> a) {
  return Lane<float>(fmaxf(a.v, 0.0f) + log1pf(expf(-fabsf(a.v))));
}

// ---- reductions in one fixed order

template <class T, class Combine>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
  for (int offset = 16; offset > 0; offset >>= 1)
    value = combine(value, __shfl_xor_sync(whole_warp, value, offset));
  return value;  // in every lane
}

// Over all threads of a one-dimensional block of whole warps; every thread gets the result. Ends
// behind a barrier, so it may be called again at once.
template <class T, class Combine>
__device__ __forceinline__ T block_reduce(T value, T identity, Combine combine) {
  EMULSION_SHARED(T, partial, [32]);
  value = warp_reduce(value, combine);
  if (lane_index() == 0) partial[warp_index()] = value;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x >> 5);
  value = warp_reduce(lane_index() < warps ? partial[lane_index()] : identity, combine);
  __syncthreads();
  return value;
}

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

// NaN on either side wins.
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return a > b || a != a ? a : b;
  }
};

// ---- division by a number known at the launch (Granlund and Montgomery, 1994), for indices below
// 2^31

struct Divisor {
  uint32_t divisor = 1, multiplier = 0, shift = 0;

  Divisor() = default;
  explicit Divisor(int64_t value) : divisor(static_cast<uint32_t>(value)) {
    while (shift < 31 && (uint64_t{1} << shift) < divisor) ++shift;
    multiplier = static_cast<uint32_t>(
        ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - divisor)) / divisor + 1);
  }

  // Divides n, sets the rest.
  __device__ __forceinline__ uint32_t operator()(uint32_t n, uint32_t& rest) const {
    const uint32_t quotient = (__umulhi(n, multiplier) + n) >> shift;
    rest = n - quotient * divisor;
    return quotient;
  }
};

}  // namespace emulsion::cuda
