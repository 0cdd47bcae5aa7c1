// Linear layers and the activations that ride on them.
//
//   y = act(x · weightᵀ + bias) + residual
//
// x: [..., C]; weight: [K, C]; bias: [K]; y, residual: [..., K], or [..., K/2] with geglu.
// activation: 0 none; 1 SiLU; 2 GELU (exact, with erf); 3 GEGLU: a · gelu(g) where a is the first
// half of the last axis and g the second. preactivation ([..., K], optional but for geglu): the
// argument of act.
//
//   activation_backward      dx = dy · act'(x): x = preactivation
//
// The other gradients are products (matmul.h): dx = d · weight, dweight = dᵀ · x.
// One floating dtype; 16-bit floats are summed in float32. Outputs overlap no input.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void linear_forward(const View& x, const View& weight, const View& bias,
                                     const View& residual, int64_t activation, View& y,
                                     View& preactivation);
                 void activation_backward(const View& dy, const View& x, int64_t activation,
                                          View& dx);)
