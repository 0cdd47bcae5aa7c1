// What this build was compiled for, and what it finds: for the choice of devices, and for reports.
#include "cuda/machine.h"

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "core/device.h"

// As the build names them: "80,90a". The first one's PTX is compiled in too.
#if !defined(EMULSION_CUDA_ARCHITECTURES)
#error "the build defines EMULSION_CUDA_ARCHITECTURES"
#endif

namespace emulsion {
namespace cuda {
namespace {

constexpr int oldest_capability = 80;  // cp.async, bfloat16 on tensor cores

// Machine code runs on later minor versions; with a letter it runs on its own version alone.
// PTX without a letter is compiled by the driver for whatever comes later.
bool is_compiled_for(int capability) {
  std::istringstream list(EMULSION_CUDA_ARCHITECTURES);
  bool first = true;
  for (std::string each; std::getline(list, each, ','); first = false) {
    const int version = std::atoi(each.c_str());
    const bool exact = !each.empty() && !std::isdigit(static_cast<unsigned char>(each.back()));
    if (version == capability) return true;
    if (!exact && version < capability && (first || version / 10 == capability / 10)) return true;
  }
  return false;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why no GPU can be asked.
std::string why_none(cudaError_t error, int driver, int runtime) {
  if (driver == 0) return "no NVIDIA driver is installed";
  if (error == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + version_text(driver) +
           ", and this build needs one for CUDA " + version_text(runtime) + "; update the driver";
  if (error == cudaErrorNoDevice)
    return "the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES can hide them)";
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

}  // namespace

std::string why_not(const cudaDeviceProp& properties) {
  const int capability = 10 * properties.major + properties.minor;
  const std::string has = "compute capability " + std::to_string(properties.major) + "." +
                          std::to_string(properties.minor);
  if (capability < oldest_capability) return has + "; emulsion needs 8.0 or newer";
  if (!is_compiled_for(capability))
    return has + "; this build has code for " EMULSION_CUDA_ARCHITECTURES " alone";
  return "";
}

bool has_hopper_code() { return std::strstr(EMULSION_CUDA_ARCHITECTURES, "90a") != nullptr; }

}  // namespace cuda

CudaInfo cuda_info() {
  CudaInfo info{EMULSION_CUDA_ARCHITECTURES, 0, 0, "", {}};
  cudaRuntimeGetVersion(&info.runtime);
  cudaDriverGetVersion(&info.driver);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    info.reason = cuda::why_none(error, info.driver, info.runtime);
    return info;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    info.gpus.push_back({properties.name, 10 * properties.major + properties.minor,
                         static_cast<int64_t>(properties.totalGlobalMem),
                         cuda::why_not(properties)});
  }
  return info;
}

}  // namespace emulsion
