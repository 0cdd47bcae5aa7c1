// Two-dimensional convolution, channels last: the forward pass, the gradient of the input, and the
// choice of their kernels.
//
// 2·N·P·Q·K·R·S·C/groups operations on N·(H·W·C + P·Q·K) + K·R·S·C/groups elements: tensor cores
// are the roof of 3x3 filters from some 200 channels on, the filters' bytes where the image is 8x8
// and the batch small, the image's bytes in first and last layers.
//
// The gradient of the input is a convolution of dy with the filters turned around and transposed.
// Turning them is a matter of strides; on Hopper, for groups too narrow for a product and for 1x1
// filters so is transposing. The other kernels want what they sum over to lie together: a copy in
// scratch memory, 2·K·R·S·C elements moved. A stride leaves stride_h · stride_w classes of input
// pixels, each a convolution of stride 1 with its own taps (conv2d_geometry.cuh).
#include "ops/conv2d.h"

#include <optional>

#include "cuda/conv2d_geometry.cuh"
#include "ops/layout.h"

namespace emulsion::cuda {
namespace {

// Whether groups of so many channels can be read and written 16 bytes at a time.
template <class T, class... Pointers>
bool whole_channels(int64_t channels, const Pointers*... pointers) {
  return channels * sizeof(T) % 16 == 0 && vectors(pointers...);
}

template <class T>
const T* data(const View& tensor) {
  return tensor ? tensor.as<T>() : nullptr;
}

// False, and nothing done, where no kernel takes filters that lie so. Deep ones always do.
template <class T>
bool run_walk(const char* op, const T* images, const T* filters, const PixelWalk& walk,
              const ConvFinish<T>& finish) {
  if (narrow_groups(walk)) {
    run_direct(op, images, filters, walk, finish);
    return true;
  }
  if constexpr (sizeof(T) == 2)
    if (run_halo_hopper(op, images, filters, walk, finish) ||
        run_hopper(op, images, filters, walk, finish))
      return true;
  return run_halo(op, images, filters, walk, finish) ||
         run_gather(op, images, filters, walk, finish);
}

// Filters [groups, K, R·S·C] as [groups, R·S·C, K], once they are asked for.
class DeepFilters {
 public:
  DeepFilters(const View& weight, const ConvGeometry& g)
      : weight_(weight), groups_(g.groups), K_(g.group_K), columns_(g.taps() * g.group_C) {}

  template <class T>
  const T* as() {
    if (!copy_) {
      copy_.emplace(weight_.bytes());
      View copy{copy_->as<void>(), {groups_, columns_, K_}, weight_.dtype, true};
      strided_copy(weight_, {K_ * columns_, 1, columns_}, 0, copy);
    }
    return copy_->as<T>();
  }

 private:
  const View& weight_;
  const int64_t groups_, K_, columns_;
  std::optional<Workspace> copy_;
};

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
    DeepFilters deep(weight, g);
    const ConvFinish<T> finish{nullptr, nullptr, nullptr, dx.as<T>(),
                               nullptr, g.C,     false,   whole_channels<T>(g.group_C, dx.data)};
    for (int64_t h = 0; h < g.stride_h && h < g.H; ++h)
      for (int64_t w = 0; w < g.stride_w && w < g.W; ++w) {
        const PixelWalk walk = backward_walk(g, h, w);
        if (!run_walk<T>(op, dy.as<T>(), weight.as<T>(), walk, finish))
          run_walk<T>(op, dy.as<T>(), deep.as<T>(), deep_walk(walk), finish);
      }
  });
}

}  // namespace emulsion::cuda
