// Page-locked host memory for transfers, and how calls of the driver are checked.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <vector>

#include "core/errors.h"

namespace emulsion::cuda {

inline ErrorCode code_of(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::internal;
}

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // what can be cleared is cleared
  fail(code_of(error), what, ": ", cudaGetErrorName(error), ": ", cudaGetErrorString(error),
       "; EMULSION_SYNC=1 names the operation");
}

// Blocks are kept for reuse, by powers of two.
class Staging {
 public:
  void* take(size_t bytes) {
    const size_t size = size_of(bytes);
    std::lock_guard lock(mutex_);
    auto& free = free_[size];
    if (!free.empty()) {
      void* block = free.back();
      free.pop_back();
      return block;
    }
    void* block = nullptr;
    check(cudaHostAlloc(&block, size, cudaHostAllocDefault), "page-locked memory");
    return block;
  }
  void give(void* block, size_t bytes) {
    std::lock_guard lock(mutex_);
    free_[size_of(bytes)].push_back(block);
  }
  void clear() {
    for (auto& [size, blocks] : free_)
      for (void* block : blocks) cudaFreeHost(block);
    free_.clear();
  }

 private:
  static size_t size_of(size_t bytes) {
    size_t size = 4096;
    while (size < bytes) size *= 2;
    return size;
  }
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
};

}  // namespace emulsion::cuda
