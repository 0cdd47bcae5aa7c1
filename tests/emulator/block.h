// One block of a grid at a time: its threads as fibers, in an order that a seed shuffles; barriers,
// warp collectives and asynchronous copies between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "vector_types.h"

namespace emulsion::emulator {

// The built-in variables of the running thread.
uint3 thread_index();
uint3 block_index();
dim3 block_dimensions();
dim3 grid_dimensions();

// Runs kernel() for every thread of the grid. Throws Error(internal) that names what a thread did
// wrong, and where.
void run_grid(const char* op, const void* kernel, dim3 grid, dim3 block, size_t dynamic_shared,
              const std::function<void()>& body);

// Stops the block with this report. `site`: the code address of the wrong step.
[[noreturn]] void stop(const char* what, const void* pointer, size_t bytes, const void* site);

// Whether a kernel runs on this thread (host code of the same files is compiled with the same
// hooks).
bool in_kernel();

void* dynamic_shared_memory();
void* static_shared_memory(const char* file, int line, size_t bytes);

// A load or store of the running thread.
void access(const void* pointer, size_t bytes, bool write, const void* site);
// For atomics: bounds, alignment and initialisation, but no order.
void access_atomic(const void* pointer, size_t bytes, const void* site);

void barrier(const void* site);

// Lanes of a warp meet: each leaves a pointer; the last to arrive runs compute(pointers, mask)
// before any goes on.
using Compute = void (*)(void** lanes, uint32_t mask, const void* site);
void meet(uint32_t mask, void* mine, Compute compute, const void* site);
// The same for instructions that a whole warp must execute.
constexpr uint32_t all_lanes = 0xffffffffu;

// A read of shared memory by another lane of the running warp.
void access_as_lane(int lane, const void* pointer, size_t bytes, const void* site);

// ldmatrix and mma.sync of the running warp.
void load_matrices(uint32_t* registers, int count, const void* row, bool trans, const void* site);
void multiply_16bit(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, bool bfloat,
                    const void* site);
void multiply_tf32(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, const void* site);

// memcpy that no hook sees.
void copy_raw(void* to, const void* from, size_t bytes);

void copy_async(void* to, const void* from, int bytes, bool valid, const void* site);
void commit_copies();
void await_copies(int pending);

}  // namespace emulsion::emulator
