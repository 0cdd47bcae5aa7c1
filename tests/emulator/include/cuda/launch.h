// Stands in for native/cuda/launch.h: a launch runs the grid here and now.
#pragma once

#include <cuda_runtime.h>

#include <tuple>

#include "core/errors.h"

namespace emulsion::cuda {

struct Grid {
  dim3 blocks;
  dim3 threads;
  size_t shared = 0;
};

// Throws what a kernel of the running operation has recorded as its fault.
void raise_fault();

template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), const Grid& grid,
            const Arguments&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  static_assert((sizeof(std::decay_t<Parameters>) + ... + 0) <= 4096,
                "kernel arguments take at most 4 KiB");
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  struct Start {
    void (*kernel)(Parameters...);
    std::tuple<std::decay_t<Parameters>...> values;
  } start{kernel, {arguments...}};
  const auto run = [](void* at) {
    auto& self = *static_cast<Start*>(at);
    std::apply(self.kernel, self.values);
  };
  emulator::run_grid(op, grid.blocks, grid.threads, grid.shared,
                     {reinterpret_cast<const void*>(kernel), &start, sizeof start, run});
  raise_fault();
}

}  // namespace emulsion::cuda
