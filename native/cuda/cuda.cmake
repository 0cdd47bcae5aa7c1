# The CUDA engine's part of the addon.
find_package(CUDAToolkit REQUIRED)
# CMake before 3.26 does not know how nvcc is told C++20.
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")

add_library(emulsion_cuda OBJECT ${CUDA_KERNELS} native/cuda/device.cc native/cuda/machine.cc)
string(REPLACE ";" "," ARCHITECTURE_LIST "${EMULSION_CUDA_ARCHITECTURES}")
set_source_files_properties(native/cuda/machine.cc PROPERTIES
  COMPILE_DEFINITIONS "EMULSION_CUDA_ARCHITECTURES=\"${ARCHITECTURE_LIST}\"")
set_target_properties(emulsion_cuda PROPERTIES CUDA_ARCHITECTURES OFF)
foreach(ARCHITECTURE IN LISTS EMULSION_CUDA_ARCHITECTURES)
  target_compile_options(emulsion_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-gencode arch=compute_${ARCHITECTURE},code=sm_${ARCHITECTURE}>")
endforeach()
list(GET EMULSION_CUDA_ARCHITECTURES 0 OLDEST)
target_compile_options(emulsion_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-gencode arch=compute_${OLDEST},code=compute_${OLDEST}>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:--compress-mode=size --expt-relaxed-constexpr>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra,-fPIC,-fvisibility=hidden>")
target_include_directories(emulsion_cuda PRIVATE native)
target_link_libraries(emulsion_cuda PUBLIC CUDA::cudart_static)
target_link_libraries(emulsion PRIVATE emulsion_cuda)
target_compile_definitions(emulsion PRIVATE EMULSION_HAS_cuda=1)
