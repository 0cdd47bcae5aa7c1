// Stands in for native/cuda/ptx.cuh: the same instructions, by their documented meaning and layout
// of registers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"
#include "cuda/tensor_map.h"

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

// ---- sm_90, sm_90a

inline uint32_t shared_address(const void* pointer) { return emulator::shared_offset(pointer); }

EMULSION_APART inline void barrier_sync(int id, int threads) {
  emulator::sync_named(static_cast<uint32_t>(id), static_cast<uint32_t>(threads), EMULSION_SITE);
}
EMULSION_APART inline void barrier_arrive(int id, int threads) {
  emulator::arrive_named(static_cast<uint32_t>(id), static_cast<uint32_t>(threads), EMULSION_SITE);
}

EMULSION_APART inline void mbarrier_init(uint64_t* barrier, int count) {
  emulator::init_mbarrier(barrier, static_cast<uint32_t>(count), EMULSION_SITE);
}
EMULSION_APART inline void mbarrier_arrive(uint64_t* barrier) {
  emulator::arrive_mbarrier(barrier, EMULSION_SITE);
}
EMULSION_APART inline void mbarrier_arrive_expect_tx(uint64_t* barrier, int bytes) {
  emulator::arrive_expecting(barrier, static_cast<uint32_t>(bytes), EMULSION_SITE);
}
EMULSION_APART inline void mbarrier_wait(uint64_t* barrier, int parity) {
  emulator::await_mbarrier(barrier, static_cast<uint32_t>(parity), EMULSION_SITE);
}
inline void fence_mbarrier_init() { emulator::fence_mbarrier_init(); }
inline void fence_proxy_async() { emulator::fence_proxy(); }

inline void prefetch_map(const TensorMap&) {}
template <int rank>
EMULSION_APART void bulk_load(void* shared, const TensorMap& map, uint64_t* barrier,
                              const int (&at)[rank]) {
  static_assert(rank >= 1 && rank <= 5);
  emulator::bulk_load(shared, map, barrier, at, EMULSION_SITE);
}
template <int rank>
EMULSION_APART void bulk_store(const TensorMap& map, const void* shared, const int (&at)[rank]) {
  static_assert(rank >= 1 && rank <= 5);
  emulator::bulk_store(map, shared, at, EMULSION_SITE);
}
inline void bulk_commit() { emulator::commit_stores(); }
template <int pending>
EMULSION_APART void bulk_wait_read() {
  emulator::await_stores(pending, false, EMULSION_SITE);
}
template <int pending>
EMULSION_APART void bulk_wait() {
  emulator::await_stores(pending, true, EMULSION_SITE);
}

template <int count>
EMULSION_APART void setmaxnreg_inc() {
  emulator::check_registers(count, EMULSION_SITE);
}
template <int count>
EMULSION_APART void setmaxnreg_dec() {
  emulator::check_registers(count, EMULSION_SITE);
}

EMULSION_APART inline void wgmma_fence() { emulator::fence_products(EMULSION_SITE); }
EMULSION_APART inline void wgmma_commit() { emulator::commit_products(EMULSION_SITE); }
template <int pending>
EMULSION_APART void wgmma_wait() {
  emulator::await_products(pending, EMULSION_SITE);
}

template <int pending, int count>
EMULSION_APART void wgmma_wait(float (&)[count]) {
  emulator::await_products(pending, EMULSION_SITE);
}

template <class T>
constexpr emulator::Operands::Type wgmma_type =
    __is_same(T, float)      ? emulator::Operands::tf32
    : __is_same(T, bfloat16) ? emulator::Operands::bfloat
                             : emulator::Operands::half;

template <class T, int columns, bool a_transposed = false, bool b_transposed = false>
EMULSION_APART void wgmma(float (&c)[columns / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(columns >= 8 && columns <= 256 && columns % 8 == 0);
  emulator::multiply_group(
      {c, nullptr, a, b, columns, wgmma_type<T>, accumulate, a_transposed, b_transposed},
      EMULSION_SITE);
}
template <class T, int columns, bool b_transposed = false>
EMULSION_APART void wgmma(float (&c)[columns / 2], const uint32_t (&a)[4], uint64_t b,
                          bool accumulate) {
  static_assert(columns >= 8 && columns <= 256 && columns % 8 == 0);
  emulator::multiply_group({c, a, 0, b, columns, wgmma_type<T>, accumulate, false, b_transposed},
                           EMULSION_SITE);
}

}  // namespace emulsion::cuda
