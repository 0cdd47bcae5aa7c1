// What kernels, compiled for the host, call: one block of a grid runs at a time, its threads as
// fibers in an order that a seed shuffles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor.h"
#include "vector_types.h"

namespace emulsion::emulator {

// The built-in variables of the running thread.
uint3 thread_index();
uint3 block_index();
dim3 block_dimensions();
dim3 grid_dimensions();

// A kernel and its arguments: run(call) executes it for one thread.
struct Call {
  const void* kernel;
  void* call;
  size_t bytes;  // of *call, in which the arguments lie
  void (*run)(void* call);
};

// Runs the call for every thread of the grid. Throws Error(internal) that names what a thread did
// wrong, and where.
void run_grid(const char* op, dim3 grid, dim3 block, size_t dynamic_shared, const Call& call);

void* dynamic_shared_memory();
// tag: an address that belongs to this array alone.
void* static_shared_memory(const void* tag, const char* file, int line, size_t bytes);

// ---- what follows is called with `site`, the code address of the step

// For atomics: bounds, alignment and initialisation, and order against everything but atomics.
void access_atomic(const void* pointer, size_t bytes, const void* site);

void barrier(const void* site);

// Lanes of a warp meet: each leaves a pointer; the last to arrive runs compute(pointers, mask)
// before any goes on. ordered: memory that one wrote before, the others may read after.
using Compute = void (*)(void** lanes, uint32_t mask, const void* site);
void meet(uint32_t mask, void* mine, Compute compute, const void* site, bool ordered = false);
// The same for instructions that a whole warp must execute.
constexpr uint32_t all_lanes = 0xffffffffu;

// The value of the lane `source`, of 1, 2, 4, 8 or 16 bytes; of lanes that take no part, poison.
void exchange(uint32_t mask, const void* value, void* result, size_t bytes, int source,
              const void* site);
// The lanes of the mask whose predicate holds.
uint32_t vote(uint32_t mask, bool predicate, const void* site);

// ldmatrix and mma.sync of the running warp.
void load_matrices(uint32_t* registers, int count, const void* row, bool trans, const void* site);
void multiply_16bit(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, bool bfloat,
                    const void* site);
void multiply_tf32(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, const void* site);

// memcpy that no hook sees.
void copy_raw(void* to, const void* from, size_t bytes);

void copy_async(void* to, const void* from, int bytes, bool valid, const void* site);
void commit_copies();
void await_copies(int pending, const void* site);

// ---- sm_90

uint32_t shared_offset(const void* pointer);

void sync_named(uint32_t id, uint32_t threads, const void* site);
void arrive_named(uint32_t id, uint32_t threads, const void* site);

void init_mbarrier(uint64_t* at, uint32_t count, const void* site);
void arrive_mbarrier(uint64_t* at, const void* site);
void arrive_expecting(uint64_t* at, uint32_t bytes, const void* site);
void await_mbarrier(uint64_t* at, uint32_t parity, const void* site);
void fence_mbarrier_init();
void fence_proxy();

void bulk_load(void* shared, const Tensor& map, uint64_t* mbarrier, const int* at,
               const void* site);
void bulk_store(const Tensor& map, const void* shared, const int* at, const void* site);
void commit_stores();
// all: the bytes are written; else they have been read.
void await_stores(int pending, bool all, const void* site);

void check_registers(int count, const void* site);
void fence_products(const void* site);
void commit_products(const void* site);
void await_products(int pending, const void* site);
// c [64, columns] = or += a times b, of 16 (16-bit) or 8 (TF32) deep, by a warpgroup. a: a
// descriptor, or null and four registers.
struct Operands {
  float* c;
  const uint32_t* a_registers;
  uint64_t a, b;
  int columns;
  enum Type : uint8_t { bfloat, half, tf32 } type;
  bool accumulate, a_transposed, b_transposed;
};
void multiply_group(const Operands& operands, const void* site);

}  // namespace emulsion::emulator
