// Two-dimensional convolution, channels last: the forward pass, the gradient of the input, and the
// choice of their kernels.
//
// 2·N·P·Q·K·R·S·C/groups operations on N·(H·W·C + P·Q·K) + K·R·S·C/groups elements: tensor cores
// are the roof of 3x3 filters from some 200 channels on, the filters' bytes where the image is 8x8
// and the batch small, the image's bytes in first and last layers.
//
// The gradient of the input is a convolution of dy with the filters turned around and transposed.
// They are transposed in scratch memory, 2·K·R·S·C elements moved, so that channels to sum over lie
// together; turning them is a matter of strides. A stride leaves stride_h · stride_w classes of
// input pixels, each a convolution of stride 1 with its own taps (conv2d_geometry.cuh).
#include "ops/conv2d.h"

#include "cuda/conv2d_geometry.cuh"

namespace emulsion::cuda {
namespace {

// Filters [groups][K, R·S·C] to [groups][R·S·C, K]: what the gradient of the input sums over is
// then contiguous.
template <class T>
__global__ void transpose_filters(const T* from, T* to, int rows, int columns) {
  EMULSION_SHARED(T, tile, [32][33]);
  const int64_t base = static_cast<int64_t>(blockIdx.z) * rows * columns;
  const int x = static_cast<int>(threadIdx.x);
  const int column = static_cast<int>(blockIdx.x) * 32, row = static_cast<int>(blockIdx.y) * 32;
  for (int y = static_cast<int>(threadIdx.y); y < 32; y += static_cast<int>(blockDim.y))
    if (row + y < rows && column + x < columns)
      tile[y][x] = from[base + static_cast<int64_t>(row + y) * columns + column + x];
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < 32; y += static_cast<int>(blockDim.y))
    if (column + y < columns && row + x < rows)
      to[base + static_cast<int64_t>(column + y) * rows + row + x] = tile[x][y];
}

// Whether groups of so many channels can be read and written 16 bytes at a time.
template <class T, class... Pointers>
bool whole_channels(int64_t channels, const Pointers*... pointers) {
  return channels * sizeof(T) % 16 == 0 && vectors(pointers...);
}

template <class T>
const T* data(const View& tensor) {
  return tensor ? tensor.as<T>() : nullptr;
}

template <class T>
void run_walk(const char* op, const T* images, const T* filters, const PixelWalk& walk,
              const ConvFinish<T>& finish) {
  if (narrow_groups(walk)) return run_direct(op, images, filters, walk, finish);
  if constexpr (sizeof(T) == 2)
    if (run_halo_hopper(op, images, filters, walk, finish) ||
        run_hopper(op, images, filters, walk, finish))
      return;
  if (!run_halo(op, images, filters, walk, finish)) run_gather(op, images, filters, walk, finish);
}

}  // namespace

void conv2d_forward(const View& x, const View& weight, const View& bias, const View& channel_add,
                    const View& residual, const Shape& stride, const Shape& padding,
                    const Shape& dilation, int64_t groups, bool silu, View& y,
                    View& preactivation) {
  const char* const op = "conv2d_forward";
  const ConvGeometry g = countable_geometry(op, x, weight, y, stride, padding, dilation, groups);
  check_conv_finish(g, bias, channel_add, residual, y, preactivation);
  if (y.numel() == 0) return;
  dispatch_float(x.dtype, op, [&]<class T>() {
    const ConvFinish<T> finish{data<T>(bias),
                               data<T>(channel_add),
                               data<T>(residual),
                               y.as<T>(),
                               preactivation ? preactivation.as<T>() : nullptr,
                               g.K,
                               silu,
                               whole_channels<T>(g.group_K, bias.data, channel_add.data,
                                                 residual.data, y.data, preactivation.data)};
    run_walk(op, x.as<T>(), weight.as<T>(), forward_walk(g), finish);
  });
}

void conv2d_backward_input(const View& dy, const View& weight, const Shape& stride,
                           const Shape& padding, const Shape& dilation, int64_t groups, View& dx) {
  const char* const op = "conv2d_backward_input";
  const ConvGeometry g = countable_geometry(op, dx, weight, dy, stride, padding, dilation, groups);
  if (dx.numel() == 0) return;
  dispatch_float(dx.dtype, op, [&]<class T>() {
    if (dy.numel() == 0) {
      launch(op, no_gradient<T>, stream_grid(dx.numel()), dx.as<T>(), dx.numel());
      return;
    }
    const Workspace filters(weight.bytes());
    const int64_t columns = g.taps() * g.group_C;
    EMULSION_CHECK(groups <= 65535 && ceil_div(g.group_K, 32) <= 65535, op, ": ", groups,
                   " groups of ", g.group_K, " filters are not supported");
    launch(op, transpose_filters<T>,
           Grid{dim3(static_cast<unsigned>(ceil_div(columns, 32)),
                     static_cast<unsigned>(ceil_div(g.group_K, 32)), static_cast<unsigned>(groups)),
                dim3(32, 8)},
           weight.as<T>(), filters.as<T>(), static_cast<int>(g.group_K), static_cast<int>(columns));
    const ConvFinish<T> finish{nullptr, nullptr, nullptr, dx.as<T>(),
                               nullptr, g.C,     false,   whole_channels<T>(g.group_C, dx.data)};
    for (int64_t h = 0; h < g.stride_h && h < g.H; ++h)
      for (int64_t w = 0; w < g.stride_w && w < g.W; ++w)
        run_walk<T>(op, dy.as<T>(), filters.as<T>(), backward_walk(g, h, w), finish);
  });
}

}  // namespace emulsion::cuda
