// The gradient of a convolution's filters:
//
//   dweight[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k] · x[n, p·stride - top + r·dilation, ..., c]
//
// A product of K rows, R·S·C columns and all output pixels as its depth, 2·N·P·Q·K·R·S·C
// operations: tensor cores are the roof. Few results and a long depth: gemm.cuh splits the pixels
// into stretches whose float32 sums a second launch adds in order. The last layer of a network has
// a handful of rows, the first one a handful of columns; bandwidth is their roof, and they get
// tiles as thin as they are, so that dy and x are not read for rows of zeros.
#include "cuda/columns.cuh"
#include "cuda/conv2d_gather.cuh"
#include "ops/conv2d.h"

namespace emulsion::cuda {
namespace {

// Copies dy and x so many elements at a time.
template <class T, int width_dy, int width_x>
void run_width(const char* op, const T* dy, const T* x, const PixelWalk& walk, T* dweight) {
  using namespace gemm;
  constexpr int chunk = 16 / sizeof(T), tile_depth = 64 / sizeof(T);
  constexpr Unit unit = __is_same(T, float) ? Unit::fma : Unit::tensor_cores;
  const int64_t columns = int64_t{walk.taps()} * walk.channels;
  const Problem problem{walk.filters, columns, walk.pixels(), walk.groups};
  const Matrix<T, false, width_dy> a{dy, int64_t{walk.groups} * walk.filters, walk.filters,
                                     walk.pixels(), Batches{1, {walk.groups}, {walk.filters}}};
  const WalkColumns<T, width_x> b(x, walk);
  const StoreRows<T, chunk> epilogue{dweight, walk.filters, static_cast<int>(columns),
                                     columns % chunk == 0 && vectors(dweight)};
  if constexpr (width_x == chunk) {
    if (walk.filters <= 16) {
      constexpr Candidate thin[] = {{16, 128, __is_same(T, float) ? 60.0 : 200.0}};
      return run<unit, BlockTiles<16, 128, 1, 4, 3, 3>>(op, a, b, epilogue, problem,
                                                        choose(problem, thin, tile_depth).splits);
    }
  } else if constexpr (width_dy == chunk) {
    if (columns <= 32) {
      constexpr Candidate thin[] = {{128, 32, __is_same(T, float) ? 70.0 : 200.0}};
      return run<unit, BlockTiles<128, 32, 4, 1, 3, 3>>(op, a, b, epilogue, problem,
                                                        choose(problem, thin, tile_depth).splits);
    }
  }
  multiply(op, a, b, epilogue, problem);
}

}  // namespace

void conv2d_backward_weight(const View& dy, const View& x, const Shape& stride,
                            const Shape& padding, const Shape& dilation, int64_t groups,
                            View& dweight) {
  const char* const op = "conv2d_backward_weight";
  const ConvGeometry g = countable_geometry(op, x, dweight, dy, stride, padding, dilation, groups);
  if (dweight.numel() == 0) return;
  dispatch_float(dweight.dtype, op, [&]<class T>() {
    if (dy.numel() == 0) {
      launch(op, no_gradient<T>, stream_grid(dweight.numel()), dweight.as<T>(), dweight.numel());
      return;
    }
    constexpr int chunk = 16 / sizeof(T);
    const PixelWalk walk = forward_walk(g);
    if constexpr (sizeof(T) == 2)
      if (run_hopper_weight(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>())) return;
    if (narrow_groups(walk))
      run_direct_weight(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>());
    else if (const bool whole_x = g.group_C % chunk == 0 && vectors(x.data);
             g.group_K % chunk == 0 && vectors(dy.data))
      whole_x ? run_width<T, chunk, chunk>(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>())
              : run_width<T, chunk, 1>(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>());
    else
      whole_x ? run_width<T, 1, chunk>(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>())
              : run_width<T, 1, 1>(op, dy.as<T>(), x.as<T>(), walk, dweight.as<T>());
  });
}

}  // namespace emulsion::cuda
