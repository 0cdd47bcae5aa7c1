// Stands in for native/cuda/ptx.cuh: the same instructions, by their documented meaning and layout
// of registers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

#define EMULSION_SHARED(type, name, ...)                                          \
  static char name##_tag; /* every instance of a template has its own */          \
  auto& name = *static_cast<std::add_pointer_t<type __VA_ARGS__>>(                \
      ::emulsion::emulator::static_shared_memory(&name##_tag, __FILE__, __LINE__, \
                                                 sizeof(type __VA_ARGS__)))

namespace emulsion::cuda {

inline unsigned char* dynamic_shared() {
  return static_cast<unsigned char*>(emulator::dynamic_shared_memory());
}

template <class T>
inline uint32_t pack2(float low, float high) {
  const T first = convert<T>(low), second = convert<T>(high);
  return static_cast<uint32_t>(first.bits) | static_cast<uint32_t>(second.bits) << 16;
}
inline float half_to_float(float16 value) { return to_float(value); }
inline float16 float_to_half(float value) { return to_float16(value); }
inline bfloat16 float_to_bfloat(float value) { return to_bfloat16(value); }

inline uint32_t cvt_rna_tf32(float value) {
  return (__float_as_uint(value) + 0x1000u) & 0xffffe000u;
}
inline float ex2_approx(float x) { return std::exp2(x); }

template <int bytes>
EMULSION_APART void cp_async(void* shared, const void* global, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  emulator::copy_async(shared, global, bytes, valid, EMULSION_SITE);
}
inline void cp_async_commit() { emulator::commit_copies(); }
template <int pending>
EMULSION_APART void cp_async_wait() {
  emulator::await_copies(pending, EMULSION_SITE);
}

EMULSION_APART inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  emulator::load_matrices(r, 4, row, false, EMULSION_SITE);
}
EMULSION_APART inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  emulator::load_matrices(r, 4, row, true, EMULSION_SITE);
}
EMULSION_APART inline void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  emulator::load_matrices(r, 2, row, false, EMULSION_SITE);
}
EMULSION_APART inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  emulator::load_matrices(r, 2, row, true, EMULSION_SITE);
}

template <class T>
EMULSION_APART void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulator::multiply_16bit(c, a, b0, b1, __is_same(T, bfloat16), EMULSION_SITE);
}
EMULSION_APART inline void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1) {
  emulator::multiply_tf32(c, a, b0, b1, EMULSION_SITE);
}

}  // namespace emulsion::cuda
