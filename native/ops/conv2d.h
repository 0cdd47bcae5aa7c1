// Two-dimensional convolution, channels last.
//
//   y[n,p,q,k] = act( Σ_{r,s,c} x[n, p·sh - top + r·dh, q·sw - left + s·dw, c] · weight[k,r,s,c]
//                     + bias[k] + channel_add[n,k] ) + residual[n,p,q,k]
//
//   x                  [N, H, W, C]
//   weight             [K, R, S, C/groups]: output channels [g·K/groups, (g+1)·K/groups) read
//                      input channels [g·C/groups, (g+1)·C/groups)
//   bias               [K]
//   channel_add        [N, K]
//   residual, y        [N, P, Q, K], P = ⌊(H + top + bottom - dh·(R-1) - 1) / sh⌋ + 1, Q alike
//   preactivation      optional, shape of y: the argument of act, which its derivative needs
//   stride, dilation   [h, w]
//   padding            [top, bottom, left, right], zeros outside of x
// act is SiLU or nothing.
//
// The gradients are those of the sum alone: dy is the gradient of act's argument.
//   conv2d_backward_input    dx: shape of x
//   conv2d_backward_weight   dweight: shape of weight
// One floating dtype; 16-bit floats are summed in float32. Outputs overlap no input.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void conv2d_forward(const View& x, const View& weight, const View& bias,
                                     const View& channel_add, const View& residual,
                                     const Shape& stride, const Shape& padding,
                                     const Shape& dilation, int64_t groups, bool silu, View& y,
                                     View& preactivation);
                 void conv2d_backward_input(const View& dy, const View& weight, const Shape& stride,
                                            const Shape& padding, const Shape& dilation,
                                            int64_t groups, View& dx);
                 void conv2d_backward_weight(const View& dy, const View& x, const Shape& stride,
                                             const Shape& padding, const Shape& dilation,
                                             int64_t groups, View& dweight);)

namespace emulsion {

struct ConvGeometry {
  int64_t N, H, W, C, K, R, S, P, Q;
  int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
  int64_t groups, group_C, group_K;

  EMULSION_INLINE int64_t taps() const { return R * S; }
};

// Throws unless the three shapes and the options make one convolution.
static inline ConvGeometry conv_geometry(const char* op, const View& x, const View& weight,
                                         const View& y, const Shape& stride, const Shape& padding,
                                         const Shape& dilation, int64_t groups) {
  EMULSION_CHECK(x && weight && y, op, ": images and weight must be given");
  EMULSION_CHECK(x.rank() == 4 && weight.rank() == 4 && y.rank() == 4, op,
                 ": images and weight have four axes");
  EMULSION_CHECK(x.dtype == weight.dtype && x.dtype == y.dtype, op,
                 ": all tensors must have one dtype");
  EMULSION_CHECK(stride.rank() == 2 && padding.rank() == 4 && dilation.rank() == 2, op,
                 ": stride and dilation have two entries, padding four");
  constexpr int64_t limit = int64_t{1} << 24;
  for (int i = 0; i < 2; ++i)
    EMULSION_CHECK(stride[i] >= 1 && stride[i] < limit && dilation[i] >= 1 && dilation[i] < limit,
                   op, ": stride and dilation must be positive");
  for (int64_t pad : padding)
    EMULSION_CHECK(pad >= 0 && pad < limit, op, ": padding must not be negative");
  const ConvGeometry g{x.dim(0),
                       x.dim(1),
                       x.dim(2),
                       x.dim(3),
                       weight.dim(0),
                       weight.dim(1),
                       weight.dim(2),
                       y.dim(1),
                       y.dim(2),
                       stride[0],
                       stride[1],
                       padding[0],
                       padding[2],
                       dilation[0],
                       dilation[1],
                       groups,
                       groups > 0 ? x.dim(3) / groups : 0,
                       groups > 0 ? weight.dim(0) / groups : 0};
  EMULSION_CHECK(groups >= 1 && g.C == g.group_C * groups && g.K == g.group_K * groups, op,
                 ": groups (", groups, ") must divide the channels ", g.C, " and ", g.K);
  EMULSION_CHECK(weight.dim(3) == g.group_C && y.dim(0) == g.N && y.dim(3) == g.K && g.taps() > 0,
                 op, ": images ", x.shape, " and ", y.shape, " do not fit weight ", weight.shape,
                 " in ", groups, " groups");
  const auto extent = [](int64_t size, int64_t pads, int64_t dilation, int64_t kernel,
                         int64_t stride) {
    const int64_t free = size + pads - dilation * (kernel - 1) - 1;
    return free < 0 ? 0 : free / stride + 1;
  };
  EMULSION_CHECK(g.P == extent(g.H, padding[0] + padding[1], g.dilation_h, g.R, g.stride_h) &&
                     g.Q == extent(g.W, padding[2] + padding[3], g.dilation_w, g.S, g.stride_w),
                 op, ": ", x.shape, " with weight ", weight.shape, " does not give ", y.shape);
  return g;
}

// What joins the sums on their way to y.
static inline void check_conv_finish(const ConvGeometry& g, const View& bias,
                                     const View& channel_add, const View& residual, const View& y,
                                     const View& preactivation) {
  const char* const op = "conv2d_forward";
  check_like(op, bias, Shape{g.K}, y.dtype, "bias");
  check_like(op, channel_add, Shape{g.N, g.K}, y.dtype, "channel_add");
  check_like(op, residual, y.shape, y.dtype, "residual");
  check_like(op, preactivation, y.shape, y.dtype, "preactivation");
}

}  // namespace emulsion
