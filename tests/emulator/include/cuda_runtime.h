// Stands in for CUDA's header of the same name where kernels run on the host: qualifiers, built-in
// variables and the device functions that kernels use.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "block.h"
#include "vector_types.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#define threadIdx (::emulsion::emulator::thread_index())
#define blockIdx (::emulsion::emulator::block_index())
#define blockDim (::emulsion::emulator::block_dimensions())
#define gridDim (::emulsion::emulator::grid_dimensions())

// Where a function that only GCC's hooks may see apart from its caller stands.
#define EMULSION_SITE __builtin_return_address(0)
#define EMULSION_APART __attribute__((noinline))

EMULSION_APART inline void __syncthreads() { ::emulsion::emulator::barrier(EMULSION_SITE); }
inline void __threadfence() {}

// Alone among the warp's collectives it orders memory.
EMULSION_APART inline void __syncwarp(unsigned mask = 0xffffffffu) {
  ::emulsion::emulator::meet(mask, nullptr, nullptr, EMULSION_SITE, true);
}

namespace emulsion::emulator {

// source: the lane to read from, the own one if outside of the segment.
template <class T>
inline T shuffle(unsigned mask, T value, int source, const void* site) {
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8 ||
                sizeof(T) == 16);
  T result;
  exchange(mask, &value, &result, sizeof(T), source, site);
  return result;
}

inline int lane_of_thread() {
  const uint3 index = thread_index();
  const dim3 size = block_dimensions();
  return static_cast<int>((index.x + size.x * (index.y + size.y * index.z)) & 31);
}

// An atomic of the running thread: nothing else runs meanwhile.
template <class T, class Change>
inline T atomic(T* at, Change change, const void* site) {
  access_atomic(at, sizeof(T), site);
  T before;
  copy_raw(&before, at, sizeof(T));
  const T after = change(before);
  copy_raw(at, &after, sizeof(T));
  return before;
}

}  // namespace emulsion::emulator

template <class T>
EMULSION_APART T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int lane = ::emulsion::emulator::lane_of_thread();
  return ::emulsion::emulator::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)),
                                       EMULSION_SITE);
}
template <class T>
EMULSION_APART T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const int lane = ::emulsion::emulator::lane_of_thread(), source = lane ^ lanes;
  const bool inside = (source & ~(width - 1)) == (lane & ~(width - 1));
  return ::emulsion::emulator::shuffle(mask, value, inside ? source : lane, EMULSION_SITE);
}
template <class T>
EMULSION_APART T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = ::emulsion::emulator::lane_of_thread(), source = lane - static_cast<int>(delta);
  return ::emulsion::emulator::shuffle(mask, value, source >= (lane & ~(width - 1)) ? source : lane,
                                       EMULSION_SITE);
}
template <class T>
EMULSION_APART T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = ::emulsion::emulator::lane_of_thread(), source = lane + static_cast<int>(delta);
  return ::emulsion::emulator::shuffle(
      mask, value, source < (lane & ~(width - 1)) + width ? source : lane, EMULSION_SITE);
}
EMULSION_APART inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  return ::emulsion::emulator::vote(mask, predicate, EMULSION_SITE);
}
EMULSION_APART inline bool __any_sync(unsigned mask, bool predicate) {
  return ::emulsion::emulator::vote(mask, predicate, EMULSION_SITE) != 0;
}
EMULSION_APART inline bool __all_sync(unsigned mask, bool predicate) {
  return ::emulsion::emulator::vote(mask, predicate, EMULSION_SITE) == mask;
}

#define EMULSION_ATOMIC(name, expression)                                         \
  template <class T>                                                              \
  EMULSION_APART T name(T* at, std::type_identity_t<T> value) {                   \
    return ::emulsion::emulator::atomic(                                          \
        at, [&](T before) { return static_cast<T>(expression); }, EMULSION_SITE); \
  }
EMULSION_ATOMIC(atomicAdd, before + value)
EMULSION_ATOMIC(atomicMin, value < before ? value : before)
EMULSION_ATOMIC(atomicMax, value > before ? value : before)
EMULSION_ATOMIC(atomicExch, value)
EMULSION_ATOMIC(atomicOr, before | value)
#undef EMULSION_ATOMIC
template <class T>
EMULSION_APART T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return ::emulsion::emulator::atomic(
      at, [&](T before) { return before == expected ? value : before; }, EMULSION_SITE);
}

// ---- arithmetic

template <class T>
  requires std::is_arithmetic_v<T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
  requires std::is_arithmetic_v<T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }

template <class To, class From>
inline To emulsion_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}
inline int __float_as_int(float x) { return emulsion_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulsion_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulsion_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulsion_bits<float>(x); }
template <class T>
inline T __ldg(const T* pointer) {
  return *pointer;
}
