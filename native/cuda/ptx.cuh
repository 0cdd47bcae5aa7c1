// Every instruction that C++ has no name for, each behind a function with the ISA's name, and the
// two spellings of shared memory. Inline assembly stands nowhere else.
//
// Sections of the PTX ISA: "Data Movement and Conversion" (cp.async, ldmatrix, cvt), "Warp Level
// Matrix Instructions" (mma), "Floating Point Instructions" (ex2.approx).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"
#include "cuda/tensor_map.h"

// EMULSION_SHARED(float, name, [32]): static shared memory of a block.
#define EMULSION_SHARED(type, name, ...) __shared__ type name __VA_ARGS__

namespace emulsion::cuda {

// The dynamic shared memory of the block, as large as the launch says.
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];
  return dynamic_shared_memory;
}

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- conversions

// Two floats rounded to nearest even, the first in the low half.
template <class T>
__device__ __forceinline__ uint32_t pack2(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack2<bfloat16>(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
template <>
__device__ __forceinline__ uint32_t pack2<float16>(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}

__device__ __forceinline__ float half_to_float(float16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

__device__ __forceinline__ float16 float_to_half(float value) {
  float16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

__device__ __forceinline__ bfloat16 float_to_bfloat(float value) {
  bfloat16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

// Rounded to TF32's ten bits of mantissa, to nearest, ties away from zero.
__device__ __forceinline__ uint32_t cvt_rna_tf32(float value) {
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
  return result;
}

__device__ __forceinline__ float ex2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// ---- cp.async: global to shared memory without a register between. What was copied is visible to
// the issuing thread after the wait, to others after a barrier behind it. `valid` false writes
// zeros and reads nothing.

template <int bytes>
__device__ __forceinline__ void cp_async(void* shared, const void* global, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  const int from = valid ? bytes : 0;
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(from)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)),
                 "l"(global), "n"(bytes), "r"(from)
                 : "memory");
}

__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until at most `pending` of the newest groups are under way.
template <int pending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// ---- ldmatrix: 8x8 matrices of 16-bit elements from shared memory. Lane 8j + i gives the 16-byte
// row i of matrix j; lane l receives elements (l / 4, 2 (l % 4)) and the next of each matrix, or,
// with trans, (2 (l % 4), l / 4) and the one below.

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// ---- mma: c += a · b on tensor cores, by whole warps. With g = lane / 4, t = lane % 4, an element
// of a register pair being (low, high):
//   16-bit  a0 (g, 2t..) a1 (g + 8, 2t..) a2 (g, 2t + 8..) a3 (g + 8, 2t + 8..)   (row, depth)
//           b0 (2t.., g) b1 (2t + 8.., g)                                         (depth, column)
//   TF32    a0 (g, t) a1 (g + 8, t) a2 (g, t + 4) a3 (g + 8, t + 4);  b0 (t, g) b1 (t + 4, g)
//   c       (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1)

// T: bfloat16 or float16.
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  if constexpr (__is_same(T, bfloat16))
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Operands as cvt_rna_tf32 gives them.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- sm_90: barriers of some threads of a block. Kernels that use what follows are launched on
// capability 90 only; for other architectures it compiles to a trap.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define EMULSION_SM90(...) asm volatile(__VA_ARGS__)
#else
#define EMULSION_SM90(...) __trap()
#endif
// wgmma and setmaxnreg belong to sm_90a alone.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define EMULSION_SM90A(...) asm volatile(__VA_ARGS__)
#else
#define EMULSION_SM90A(...) __trap()
#endif

// Named barriers 1 to 15: `threads` of them arrive, whole warps; those that sync wait for all.
__device__ __forceinline__ void barrier_sync(int id, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void barrier_arrive(int id, int threads) {
  asm volatile("barrier.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// mbarrier: 8 bytes of shared memory. A phase ends when `count` have arrived and all expected bytes
// have come; then its parity (0 at first) flips. After the initialisation: fence_mbarrier_init by
// the thread that did it, then __syncthreads.
__device__ __forceinline__ void mbarrier_init([[maybe_unused]] uint64_t* barrier,
                                              [[maybe_unused]] int count) {
  EMULSION_SM90("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                : "memory");
}
__device__ __forceinline__ void fence_mbarrier_init() {
  EMULSION_SM90("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive([[maybe_unused]] uint64_t* barrier) {
  EMULSION_SM90("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect_tx([[maybe_unused]] uint64_t* barrier,
                                                          [[maybe_unused]] int bytes) {
  EMULSION_SM90(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
// Until the phase of this parity has completed.
__device__ __forceinline__ void mbarrier_wait([[maybe_unused]] uint64_t* barrier,
                                              [[maybe_unused]] int parity) {
  EMULSION_SM90(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// Between a thread's own writes to shared memory and what bulk copies and wgmma read there: by the
// writer, before the barrier that tells the reader.
__device__ __forceinline__ void fence_proxy_async() {
  EMULSION_SM90("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- bulk copies of boxes of a tensor (tensor_map.h), asked for by one thread. Coordinates are
// elements, innermost first. A load completes on an mbarrier; stores are committed in groups.

__device__ __forceinline__ void prefetch_map([[maybe_unused]] const TensorMap& map) {
  EMULSION_SM90("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

template <int rank>
__device__ __forceinline__ void bulk_load([[maybe_unused]] void* shared,
                                          [[maybe_unused]] const TensorMap& map,
                                          [[maybe_unused]] uint64_t* barrier,
                                          [[maybe_unused]] const int (&at)[rank]) {
  static_assert(rank >= 2 && rank <= 4);
#define EMULSION_BULK_LOAD(dimensions, coordinates, ...)                                  \
  EMULSION_SM90(                                                                          \
      "cp.async.bulk.tensor." dimensions                                                  \
      ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, " coordinates \
      "], [%2];" ::"r"(shared_address(shared)),                                           \
      "l"(&map), "r"(shared_address(barrier)), __VA_ARGS__                                \
      : "memory")
  if constexpr (rank == 2)
    EMULSION_BULK_LOAD("2d", "{%3, %4}", "r"(at[0]), "r"(at[1]));
  else if constexpr (rank == 3)
    EMULSION_BULK_LOAD("3d", "{%3, %4, %5}", "r"(at[0]), "r"(at[1]), "r"(at[2]));
  else
    EMULSION_BULK_LOAD("4d", "{%3, %4, %5, %6}", "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]));
#undef EMULSION_BULK_LOAD
}

template <int rank>
__device__ __forceinline__ void bulk_store([[maybe_unused]] const TensorMap& map,
                                           [[maybe_unused]] const void* shared,
                                           [[maybe_unused]] const int (&at)[rank]) {
  static_assert(rank >= 2 && rank <= 4);
#define EMULSION_BULK_STORE(dimensions, coordinates, ...)                                       \
  EMULSION_SM90("cp.async.bulk.tensor." dimensions                                              \
                ".global.shared::cta.tile.bulk_group [%0, " coordinates "], [%1];" ::"l"(&map), \
                "r"(shared_address(shared)), __VA_ARGS__                                        \
                : "memory")
  if constexpr (rank == 2)
    EMULSION_BULK_STORE("2d", "{%2, %3}", "r"(at[0]), "r"(at[1]));
  else if constexpr (rank == 3)
    EMULSION_BULK_STORE("3d", "{%2, %3, %4}", "r"(at[0]), "r"(at[1]), "r"(at[2]));
  else
    EMULSION_BULK_STORE("4d", "{%2, %3, %4, %5}", "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]));
#undef EMULSION_BULK_STORE
}

__device__ __forceinline__ void bulk_commit() {
  EMULSION_SM90("cp.async.bulk.commit_group;" ::: "memory");
}
// Until all but the newest groups have been read (shared memory may change), or are written.
template <int pending>
__device__ __forceinline__ void bulk_wait_read() {
  EMULSION_SM90("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
}
template <int pending>
__device__ __forceinline__ void bulk_wait() {
  EMULSION_SM90("cp.async.bulk.wait_group %0;" ::"n"(pending) : "memory");
}

// ---- sm_90a: registers from one warpgroup to another; products by warpgroups (128 threads).

template <int count>
__device__ __forceinline__ void setmaxnreg_inc() {
  EMULSION_SM90A("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ __forceinline__ void setmaxnreg_dec() {
  EMULSION_SM90A("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

// Before the first wgmma of a batch, and after registers that it uses have been written.
__device__ __forceinline__ void wgmma_fence() {
  EMULSION_SM90A("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  EMULSION_SM90A("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most `pending` of the newest groups are under way; before that neither accumulators nor
// operands may be touched.
template <int pending>
__device__ __forceinline__ void wgmma_wait() {
  EMULSION_SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// The same, for the compiler too: what it does with the accumulators stays behind the wait.
template <int pending, int count>
__device__ __forceinline__ void wgmma_wait(float (&c)[count]) {
  wgmma_wait<pending>();
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

// wgmma(c, a, b, accumulate): c [64, columns] = or += a [64, 32 bytes] times b [32 bytes, columns].
// a: a descriptor (descriptor.cuh) or the registers of mma_m16n8k16, rows 16 w of warp w; b: a
// descriptor. T: bfloat16, float16, or float for TF32. Register 4 j + 2 i + h of c is row
// 16 w + g + 8 i, column 8 j + 2 t + h.
#include "cuda/wgmma.inc"

}  // namespace emulsion::cuda
