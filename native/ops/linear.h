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

#include "ops/checks.h"

EMULSION_KERNELS(void linear_forward(const View& x, const View& weight, const View& bias,
                                     const View& residual, int64_t activation, View& y,
                                     View& preactivation);
                 void activation_backward(const View& dy, const View& x, int64_t activation,
                                          View& dx);)

namespace emulsion {

// The numbers are part of the binding's contract with lib/ops/linear.ts.
enum class Activation : int { none = 0, silu = 1, gelu = 2, geglu = 3 };

static inline Shape with_last(Shape shape, int64_t extent) {
  shape[shape.rank() - 1] = extent;
  return shape;
}

static inline Activation checked_linear(const View& x, const View& weight, const View& bias,
                                        const View& residual, int64_t activation, const View& y,
                                        const View& preactivation) {
  EMULSION_CHECK(x && weight && y, "linear_forward: x, weight and y must be given");
  EMULSION_CHECK(
      x.rank() >= 1 && weight.rank() == 2 && weight.dtype == x.dtype && x.dim(-1) == weight.dim(1),
      "linear_forward: x ", x.shape, " does not fit weight ", weight.shape);
  EMULSION_CHECK(activation >= 0 && activation <= 3, "linear_forward: no activation ", activation);
  const Activation act = static_cast<Activation>(activation);
  const int64_t K = weight.dim(0);
  EMULSION_CHECK(
      act != Activation::geglu || (K % 2 == 0 && preactivation),
      "linear_forward: geglu needs an even number of outputs and room for the preactivation");
  check_like("linear", y, with_last(x.shape, act == Activation::geglu ? K / 2 : K), x.dtype, "y");
  check_like("linear", bias, Shape{K}, x.dtype, "bias");
  check_like("linear", residual, y.shape, x.dtype, "residual");
  check_like("linear", preactivation, with_last(x.shape, K), x.dtype, "preactivation");
  return act;
}

static inline Activation checked_activation_backward(const View& dy, const View& x,
                                                     int64_t activation, const View& dx) {
  EMULSION_CHECK(dy && x && dx && dx.rank() >= 1,
                 "activation_backward: dy, x and dx must be given");
  EMULSION_CHECK(activation >= 1 && activation <= 3, "activation_backward: no activation ",
                 activation);
  const Activation act = static_cast<Activation>(activation);
  EMULSION_CHECK(act != Activation::geglu || dx.dim(-1) % 2 == 0,
                 "activation_backward: geglu needs an even last axis");
  check_like("linear", x, dx.shape, dx.dtype, "x");
  check_like("linear", dy,
             act == Activation::geglu ? with_last(dx.shape, dx.dim(-1) / 2) : dx.shape, dx.dtype,
             "dy");
  return act;
}

}  // namespace emulsion
