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

#include "ops/kernels.h"

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
