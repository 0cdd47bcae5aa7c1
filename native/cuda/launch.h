// The one door to the device: every kernel starts here.
#pragma once

#include <cuda_runtime.h>

#include <tuple>

#include "core/errors.h"

namespace emulsion::cuda {

// The shape of a launch. shared: bytes of dynamic shared memory per block.
struct Grid {
  dim3 blocks;
  dim3 threads;
  size_t shared = 0;
};

// Enqueues a kernel on the stream of the running operation. Throws what the driver refuses.
void launch_kernel(const char* op, const void* kernel, const Grid& grid, void** arguments);

// Starts kernel(arguments...) over the grid; a grid without blocks does nothing. `op` names it in
// errors and profiles.
template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), const Grid& grid,
            const Arguments&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  std::tuple<std::decay_t<Parameters>...> values(arguments...);
  std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))...};
        launch_kernel(op, reinterpret_cast<const void*>(kernel), grid, pointers);
      },
      values);
}

}  // namespace emulsion::cuda
