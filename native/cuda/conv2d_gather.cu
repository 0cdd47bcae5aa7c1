// Convolution as a product over gathered pixels: every geometry that has no better kernel. Single
// taps that leave pixels where they are make a plain product, whose filters may lie either way.
#include "cuda/conv2d_gather.cuh"

namespace emulsion::cuda {
namespace {

template <class T, int width>
bool run_width(const char* op, const T* images, const T* filters, const PixelWalk& walk,
               const ConvFinish<T>& finish) {
  const WalkEpilogue<T> epilogue(walk, finish);
  const gemm::Problem problem{walk.pixels(), walk.filters, int64_t{walk.taps()} * walk.channels,
                              walk.groups};
  if (walk.pointwise()) {
    const auto multiply = [&]<bool deep>() {
      const auto batches = [&](int64_t stride) {
        return gemm::Batches{1, {walk.groups}, {stride}};
      };
      gemm::multiply(
          op,
          gemm::Matrix<T, true, width>{images, int64_t{walk.groups} * walk.channels, walk.pixels(),
                                       walk.channels, batches(walk.channels)},
          gemm::Matrix<T, deep, width>{filters + walk.filter_first,
                                       deep ? walk.filter_row : walk.filter_channel, walk.filters,
                                       walk.channels, batches(walk.filter_group)},
          epilogue, problem);
      return true;
    };
    if (walk.deep()) return multiply.template operator()<true>();
    // Those that are copied by elements gain nothing by it.
    if constexpr (width > 1)
      if (walk.filters % width == 0) return multiply.template operator()<false>();
  }
  if (!walk.deep()) return false;
  gemm::multiply(op, WalkPixels<T, width>(images, walk), WalkFilters<T, width>(filters, walk),
                 epilogue, problem);
  return true;
}

}  // namespace

template <class T>
bool run_gather(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish) {
  constexpr int chunk = 16 / sizeof(T);
  if (walk.channels % chunk == 0 && vectors(images, filters))
    return run_width<T, chunk>(op, images, filters, walk, finish);
  return run_width<T, 1>(op, images, filters, walk, finish);
}

#define EMULSION_INSTANTIATE(T)                                                  \
  template bool run_gather<T>(const char*, const T*, const T*, const PixelWalk&, \
                              const ConvFinish<T>&);
EMULSION_INSTANTIATE(float)
EMULSION_INSTANTIATE(bfloat16)
EMULSION_INSTANTIATE(float16)
#undef EMULSION_INSTANTIATE

}  // namespace emulsion::cuda
