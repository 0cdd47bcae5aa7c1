// Which GPUs this build can use.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace emulsion::cuda {

// Why a GPU is not used; empty: it is.
std::string why_not(const cudaDeviceProp& properties);

// Whether this build has the kernels of sm_90a.
bool has_hopper_code();

}  // namespace emulsion::cuda
