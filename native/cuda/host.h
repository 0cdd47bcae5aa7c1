// What the host side of every CUDA kernel file uses: the device's limits, scratch memory, faults,
// grids. For code that launches; kernels include device.cuh.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/precision.h"
#include "core/view.h"
#include "cuda/launch.h"

namespace emulsion::cuda {

// What kernels choose their tiles by.
struct Limits {
  int multiprocessors;
  int64_t shared_bytes;  // shared memory that one block may have
  int capability;        // 10 * major + minor
};

// Of the device whose operation runs on this thread.
const Limits& limits();

// Whether kernels of sm_90a may run there: a Hopper, and a build that has code for it.
// EMULSION_CUDA_PORTABLE=1 keeps to the kernels of every GPU.
bool hopper_level();

inline bool portable_kernels_wanted() {
  const char* value = std::getenv("EMULSION_CUDA_PORTABLE");
  return value && *value && std::strcmp(value, "0") != 0;
}

// Scratch memory of the running operation, given back in stream order at the end of its scope.
// Uninitialised.
class Workspace {
 public:
  explicit Workspace(int64_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(block_);
  }

 private:
  void* block_;
  size_t bytes_;
};

// The first index that an operation found outside its range; the next read throws it. In device
// memory, one per device: zeros as long as there is none.
struct Fault {
  unsigned long long op;  // the address of the operation's name, 0 for no fault
  long long index, position, extent;
};

Fault* fault_slot();
Error describe(const Fault& fault);

// Looks for the first of the int32 or int64 `ids` outside [0, extent) and records it for `op`.
// Kernels that use the ids skip the ones outside.
void check_indices(const char* op, const View& ids, int64_t extent);

constexpr int stream_threads = 256;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A grid for kernels that walk `items` with a grid stride: enough blocks to fill the device, not
// more.
inline Grid stream_grid(int64_t items) {
  const int64_t most = int64_t{16} * limits().multiprocessors;
  return {dim3(static_cast<unsigned>(std::min(ceil_div(items, stream_threads), most))),
          dim3(stream_threads)};
}

inline bool is_aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Whether every pointer can be read 16 bytes at a time.
template <class... Pointers>
bool vectors(const Pointers*... pointers) {
  return (is_aligned(pointers, 16) && ...);
}

// float64 is the CPU engine's alone.
inline void refuse_float64(const char* op, DType dtype) {
  if (dtype == DType::float64)
    fail(ErrorCode::unsupported, op, ": float64 tensors live on the CPU; cast to float32 first");
}

// Calls body.template operator()<T>() with the C++ type of a floating dtype.
template <class Body>
void dispatch_float(DType dtype, const char* op, Body&& body) {
  refuse_float64(op, dtype);
  switch (dtype) {
    case DType::float32: return body.template operator()<float>();
    case DType::bfloat16: return body.template operator()<bfloat16>();
    case DType::float16: return body.template operator()<float16>();
    default:
      fail(ErrorCode::invalid_argument, op, ": expected a floating dtype, got ", dtype_name(dtype));
  }
}

// As dispatch_float, with the integers that arithmetic knows.
template <class Body>
void dispatch_numeric(DType dtype, const char* op, Body&& body) {
  switch (dtype) {
    case DType::int32: return body.template operator()<int32_t>();
    case DType::int64: return body.template operator()<int64_t>();
    case DType::uint8: return body.template operator()<uint8_t>();
    default: return dispatch_float(dtype, op, std::forward<Body>(body));
  }
}

// By the width of an element, for ops that move values bit for bit.
template <class Body>
void dispatch_width(DType dtype, Body&& body) {
  switch (dtype_size(dtype)) {
    case 1: return body.template operator()<uint8_t>();
    case 2: return body.template operator()<uint16_t>();
    case 4: return body.template operator()<uint32_t>();
    default: return body.template operator()<unsigned long long>();
  }
}

}  // namespace emulsion::cuda
