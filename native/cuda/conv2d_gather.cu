// Convolution as a product over gathered pixels: every geometry that has no better kernel. 1x1
// filters of stride 1 are a plain product.
#include "cuda/conv2d_gather.cuh"

namespace emulsion::cuda {
namespace {

// Whether every pixel reads and writes just itself.
bool pointwise(const PixelWalk& walk) {
  return walk.taps() == 1 && walk.first_h == 0 && walk.first_w == 0 && walk.step_h == 1 &&
         walk.step_w == 1 && walk.in_h == walk.grid_h && walk.in_w == walk.grid_w;
}

template <class T, int width>
void run_width(const char* op, const T* images, const T* filters, const PixelWalk& walk,
               const ConvFinish<T>& finish) {
  const WalkEpilogue<T> epilogue(walk, finish);
  const gemm::Problem problem{walk.pixels(), walk.filters, int64_t{walk.taps()} * walk.channels,
                              walk.groups};
  if (pointwise(walk)) {
    const auto batches = [&](int64_t stride) { return gemm::Batches{1, {walk.groups}, {stride}}; };
    using Rows = gemm::Matrix<T, true, width>;
    gemm::multiply(op,
                   Rows{images, int64_t{walk.groups} * walk.channels, walk.pixels(), walk.channels,
                        batches(walk.channels)},
                   Rows{filters + walk.filter_first, walk.filter_row, walk.filters, walk.channels,
                        batches(walk.filter_group)},
                   epilogue, problem);
  } else {
    gemm::multiply(op, WalkPixels<T, width>(images, walk), WalkFilters<T, width>(filters, walk),
                   epilogue, problem);
  }
}

}  // namespace

template <class T>
void run_gather(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish) {
  constexpr int chunk = 16 / sizeof(T);
  if (walk.channels % chunk == 0 && vectors(images, filters))
    run_width<T, chunk>(op, images, filters, walk, finish);
  else
    run_width<T, 1>(op, images, filters, walk, finish);
}

#define EMULSION_INSTANTIATE(T)                                                  \
  template void run_gather<T>(const char*, const T*, const T*, const PixelWalk&, \
                              const ConvFinish<T>&);
EMULSION_INSTANTIATE(float)
EMULSION_INSTANTIATE(bfloat16)
EMULSION_INSTANTIATE(float16)
#undef EMULSION_INSTANTIATE

}  // namespace emulsion::cuda
