// The gradient of a convolution's filters:
//
//   dweight[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k] · x[n, p·stride - top + r·dilation, ..., c]
//
// A product of K rows, R·S·C columns and all output pixels as its depth, 2·N·P·Q·K·R·S·C
// operations: tensor cores are the roof. Few results and a long depth: gemm.cuh splits the pixels
// into stretches whose float32 sums a second launch adds in order.
#include "cuda/conv2d_gather.cuh"
#include "ops/conv2d.h"

namespace emulsion::cuda {
namespace {

template <class T>
__global__ void fill_zeros(T* to, int64_t count) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) to[i] = narrow<T>(0.0f);
}

template <class T, int width>
void run_width(const char* op, const T* dy, const T* x, const Walk& walk, T* dweight) {
  const int64_t columns = int64_t{walk.taps()} * walk.channels;
  const gemm::Matrix<T, false, width> rows{dy, int64_t{walk.groups} * walk.filters, walk.filters,
                                           walk.pixels(),
                                           gemm::Batches{1, {walk.groups}, {walk.filters}}};
  const FilterEpilogue<T> epilogue{dweight, walk.filters, static_cast<int>(columns),
                                   columns % 4 == 0 && is_aligned(dweight, 4 * sizeof(T))};
  gemm::multiply(op, rows, WalkColumns<T, width>(x, walk), epilogue,
                 gemm::Problem{walk.filters, columns, walk.pixels(), walk.groups});
}

}  // namespace

void conv2d_backward_weight(const View& dy, const View& x, const Shape& stride,
                            const Shape& padding, const Shape& dilation, int64_t groups,
                            View& dweight) {
  const char* const op = "conv2d_backward_weight";
  const ConvGeometry g = conv_geometry(op, x, dweight, dy, stride, padding, dilation, groups);
  if (dweight.numel() == 0) return;
  dispatch_float(dweight.dtype, op, [&]<class T>() {
    if (dy.numel() == 0) {
      launch(op, fill_zeros<T>, stream_grid(dweight.numel()), dweight.as<T>(), dweight.numel());
      return;
    }
    constexpr int chunk = 16 / sizeof(T);
    const Walk walk = forward_walk(g);
    if (narrow_groups(walk))
      run_direct_weight(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>());
    else if (g.group_K % chunk == 0 && g.group_C % chunk == 0 && vectors(dy.data, x.data))
      run_width<T, chunk>(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>());
    else
      run_width<T, 1>(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>());
  });
}

}  // namespace emulsion::cuda
