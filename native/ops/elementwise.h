// Elementwise ops: value and derivative of each side by side, written once for every engine and
// number type. `V` is whatever the engine computes with (a vector, a lane); exp, log, select, ...
// are found by its type. Adding an op is a functor and a row in its list here, and its users in
// lib/ops and tests/ops.
//
// Kernels, per row `name`:
//   unary   name_forward(x, p, q, y)        y = value(x)             x, y: same dtype and count
//           name_backward(x, dy, p, q, dx)  dx = dy · slope(x)
//           p, q are the op's parameters (a scalar operand, a slope, limits); unused ones are 0
//   binary  name_forward(a, b, y)           y = value(a, b)          a, b broadcast to y's shape
//   compare name_forward(a, b, y)           y: bool                  a, b broadcast to y's shape
//   where_forward(condition, a, b, y)       y = condition ? a : b    all broadcast; condition: bool
// y may be x, a or b itself where the shapes agree. Bandwidth-bound, but for the transcendental
// ones.
#pragma once

#include "ops/kernels.h"

namespace emulsion::elementwise {

#define EMULSION_FUNCTOR      \
  template <class V, class P> \
  EMULSION_INLINE static V

// ---- unary: value(x, p, q) and slope(x, p, q), the derivative at x
// -------------------------------------

struct Neg {
  EMULSION_FUNCTOR value(V x, P, P) { return -x; }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(-1)); }
};
struct Abs {
  EMULSION_FUNCTOR value(V x, P, P) { return abs(x); }
  EMULSION_FUNCTOR slope(V x, P, P) {
    return select(x > V(P(0)), V(P(1)), select(x < V(P(0)), V(P(-1)), V(P(0))));
  }
};
struct Sign {
  EMULSION_FUNCTOR value(V x, P, P) {
    return select(x > V(P(0)), V(P(1)), select(x < V(P(0)), V(P(-1)), x));
  }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(0)); }
};
struct Square {
  EMULSION_FUNCTOR value(V x, P, P) { return x * x; }
  EMULSION_FUNCTOR slope(V x, P, P) { return x + x; }
};
struct Sqrt {
  EMULSION_FUNCTOR value(V x, P, P) { return sqrt(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return V(P(0.5)) / sqrt(x); }
};
struct Rsqrt {
  EMULSION_FUNCTOR value(V x, P, P) { return V(P(1)) / sqrt(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return V(P(-0.5)) / (x * sqrt(x)); }
};
struct Reciprocal {
  EMULSION_FUNCTOR value(V x, P, P) { return V(P(1)) / x; }
  EMULSION_FUNCTOR slope(V x, P, P) { return V(P(-1)) / (x * x); }
};
struct Exp {
  EMULSION_FUNCTOR value(V x, P, P) { return exp(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return exp(x); }
};
struct Expm1 {
  EMULSION_FUNCTOR value(V x, P, P) { return expm1(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return exp(x); }
};
struct Log {
  EMULSION_FUNCTOR value(V x, P, P) { return log(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return V(P(1)) / x; }
};
struct Log1p {
  EMULSION_FUNCTOR value(V x, P, P) { return log1p(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return V(P(1)) / (V(P(1)) + x); }
};
struct Sin {
  EMULSION_FUNCTOR value(V x, P, P) { return sin(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return cos(x); }
};
struct Cos {
  EMULSION_FUNCTOR value(V x, P, P) { return cos(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return -sin(x); }
};
struct Floor {
  EMULSION_FUNCTOR value(V x, P, P) { return floor(x); }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(0)); }
};
struct Ceil {
  EMULSION_FUNCTOR value(V x, P, P) { return ceil(x); }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(0)); }
};
struct Round {  // half to even
  EMULSION_FUNCTOR value(V x, P, P) { return nearbyint(x); }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(0)); }
};
struct Erf {
  EMULSION_FUNCTOR value(V x, P, P) { return erf(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return V(P(1.1283791670955126)) * exp(-(x * x)); }
};
struct Tanh {
  EMULSION_FUNCTOR value(V x, P, P) { return tanh(x); }
  EMULSION_FUNCTOR slope(V x, P, P) {  // 4e / (1 + e)², e = e^-2|x|: 1 - tanh² would cancel
    const V e = exp(abs(x) * V(P(-2)));
    const V s = V(P(2)) / (V(P(1)) + e);
    return e * s * s;
  }
};
struct Sigmoid {
  EMULSION_FUNCTOR value(V x, P, P) { return sigmoid(x); }
  EMULSION_FUNCTOR slope(V x, P, P) {  // σ(x)·σ(-x), even in x
    const V e = exp(-abs(x));
    const V s = V(P(1)) / (V(P(1)) + e);
    return e * s * s;
  }
};
struct Softplus {
  EMULSION_FUNCTOR value(V x, P, P) { return softplus(x); }
  EMULSION_FUNCTOR slope(V x, P, P) { return sigmoid(x); }
};
struct Silu {
  EMULSION_FUNCTOR value(V x, P, P) { return silu(x); }
  EMULSION_FUNCTOR slope(V x, P, P) {
    const V s = sigmoid(x);
    return s + x * s * (V(P(1)) - s);
  }
};
// x·Φ(x), the exact form. Φ from erfc keeps its digits in the left tail, where 1 + erf cancels.
struct Gelu {
  EMULSION_FUNCTOR cdf(V x) { return V(P(0.5)) * erfc(x * V(P(-0.7071067811865476))); }
  EMULSION_FUNCTOR value(V x, P, P) { return x * cdf<V, P>(x); }
  EMULSION_FUNCTOR slope(V x, P, P) {
    return cdf<V, P>(x) + x * V(P(0.3989422804014327)) * exp(V(P(-0.5)) * x * x);
  }
};
// x·(1 + tanh(u))/2 = x·σ(2u), u = √(2/π)·(x + 0.044715 x³)
struct GeluTanh {
  EMULSION_FUNCTOR gate(V x) {
    return sigmoid(V(P(2 * 0.7978845608028654)) * (x + V(P(0.044715)) * x * x * x));
  }
  EMULSION_FUNCTOR value(V x, P, P) { return x * gate<V, P>(x); }
  EMULSION_FUNCTOR slope(V x, P, P) {
    const V s = gate<V, P>(x);
    const V inner_slope = V(P(2 * 0.7978845608028654)) * (V(P(1)) + V(P(3 * 0.044715)) * x * x);
    return s + x * s * (V(P(1)) - s) * inner_slope;
  }
};
// x·σ(1.702 x), CLIP's form.
struct QuickGelu {
  EMULSION_FUNCTOR value(V x, P, P) { return x * sigmoid(V(P(1.702)) * x); }
  EMULSION_FUNCTOR slope(V x, P, P) {
    const V s = sigmoid(V(P(1.702)) * x);
    return s + V(P(1.702)) * x * s * (V(P(1)) - s);
  }
};
struct Relu {
  EMULSION_FUNCTOR value(V x, P, P) { return select(x <= V(P(0)), V(P(0)), x); }  // NaN stays
  EMULSION_FUNCTOR slope(V x, P, P) { return select(x > V(P(0)), V(P(1)), V(P(0))); }
};
struct LeakyRelu {  // p = slope below zero
  EMULSION_FUNCTOR value(V x, P p, P) { return select(x > V(P(0)), x, x * V(p)); }
  EMULSION_FUNCTOR slope(V x, P p, P) { return select(x > V(P(0)), V(P(1)), V(p)); }
};
struct Clamp {  // p = lower limit, q = upper limit
  EMULSION_FUNCTOR value(V x, P p, P q) {
    return select(x < V(p), V(p), select(x > V(q), V(q), x));
  }
  EMULSION_FUNCTOR slope(V x, P p, P q) {
    return select(x < V(p), V(P(0)), select(x > V(q), V(P(0)), V(P(1))));
  }
};
struct AddScalar {  // x + p
  EMULSION_FUNCTOR value(V x, P p, P) { return x + V(p); }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(1)); }
};
struct MulScalar {  // x · p
  EMULSION_FUNCTOR value(V x, P p, P) { return x * V(p); }
  EMULSION_FUNCTOR slope(V, P p, P) { return V(p); }
};
struct SubScalar {  // x − p
  EMULSION_FUNCTOR value(V x, P p, P) { return x - V(p); }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(1)); }
};
struct ScalarSub {  // p − x
  EMULSION_FUNCTOR value(V x, P p, P) { return V(p) - x; }
  EMULSION_FUNCTOR slope(V, P, P) { return V(P(-1)); }
};
struct DivScalar {  // x / p
  EMULSION_FUNCTOR value(V x, P p, P) { return x / V(p); }
  EMULSION_FUNCTOR slope(V, P p, P) { return V(P(1) / p); }
};
struct ScalarDiv {  // p / x
  EMULSION_FUNCTOR value(V x, P p, P) { return V(p) / x; }
  EMULSION_FUNCTOR slope(V x, P p, P) { return -(V(p) / (x * x)); }
};
struct PowScalar {  // x^p
  EMULSION_FUNCTOR value(V x, P p, P) { return pow(x, V(p)); }
  EMULSION_FUNCTOR slope(V x, P p, P) {  // x^0 is 1 even at 0
    return p == P(0) ? V(P(0)) : V(p) * pow(x, V(p - P(1)));
  }
};

// ---- binary
// --------------------------------------------------------------------------------------------

struct Add {
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return a + b;
  }
};
struct Sub {
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return a - b;
  }
};
struct Mul {
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return a * b;
  }
};
struct Div {
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return a / b;
  }
};
struct Pow {
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return pow(a, b);
  }
};
struct Maximum {  // a NaN on either side wins
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return select(a == a, select(b == b, max(a, b), b), a);
  }
};
struct Minimum {
  template <class V>
  EMULSION_INLINE static V value(V a, V b) {
    return select(a == a, select(b == b, min(a, b), b), a);
  }
};

#undef EMULSION_FUNCTOR

}  // namespace emulsion::elementwise

// Name of the kernel, functor; integers too for the second list.
// The formatter does not come to rest on nested macro lists.
// clang-format off
#define EMULSION_UNARY_FLOATING(ROW)                                                          \
  ROW(sqrt, Sqrt)                                                                             \
  ROW(rsqrt, Rsqrt)                                                                           \
  ROW(reciprocal, Reciprocal)                                                                 \
  ROW(exp, Exp) ROW(expm1, Expm1) ROW(log, Log) ROW(log1p, Log1p) ROW(sin, Sin) ROW(cos, Cos) \
      ROW(floor, Floor) ROW(ceil, Ceil) ROW(round, Round) ROW(erf, Erf) ROW(tanh, Tanh)       \
          ROW(sigmoid, Sigmoid) ROW(softplus, Softplus) ROW(silu, Silu) ROW(gelu, Gelu)       \
              ROW(gelu_tanh, GeluTanh) ROW(quick_gelu, QuickGelu) ROW(leaky_relu, LeakyRelu)  \
                  ROW(div_scalar, DivScalar) ROW(scalar_div, ScalarDiv) ROW(pow_scalar, PowScalar)
#define EMULSION_UNARY_NUMERIC(ROW)                                                \
  ROW(neg, Neg)                                                                    \
  ROW(abs, Abs)                                                                    \
  ROW(sign, Sign)                                                                  \
  ROW(square, Square) ROW(relu, Relu) ROW(clamp, Clamp) ROW(add_scalar, AddScalar) \
      ROW(mul_scalar, MulScalar) ROW(sub_scalar, SubScalar) ROW(scalar_sub, ScalarSub)
#define EMULSION_BINARY_FLOATING(ROW) ROW(div, Div) ROW(pow, Pow)
#define EMULSION_BINARY_NUMERIC(ROW) \
  ROW(add, Add) ROW(sub, Sub) ROW(mul, Mul) ROW(maximum, Maximum) ROW(minimum, Minimum)
#define EMULSION_COMPARE(ROW) ROW(eq, ==) ROW(ne, !=) ROW(lt, <) ROW(le, <=) ROW(gt, >) ROW(ge, >=)
#define EMULSION_LOGICAL(ROW) ROW(logical_and, &) ROW(logical_or, |) ROW(logical_xor, ^)

#define EMULSION_DECLARE_UNARY(name, functor)                      \
  void name##_forward(const View& x, double p, double q, View& y); \
  void name##_backward(const View& x, const View& dy, double p, double q, View& dx);
#define EMULSION_DECLARE_BINARY(name, functor) \
  void name##_forward(const View& a, const View& b, View& y);

EMULSION_KERNELS(EMULSION_UNARY_FLOATING(EMULSION_DECLARE_UNARY)
                     EMULSION_UNARY_NUMERIC(EMULSION_DECLARE_UNARY)
                         EMULSION_BINARY_FLOATING(EMULSION_DECLARE_BINARY)
                             EMULSION_BINARY_NUMERIC(EMULSION_DECLARE_BINARY)
                                 EMULSION_COMPARE(EMULSION_DECLARE_BINARY)
                                     EMULSION_LOGICAL(EMULSION_DECLARE_BINARY) void where_forward(
                                         const View& condition, const View& a, const View& b,
                                         View& y);)
// clang-format on

namespace emulsion {

static inline void check_unary(const char* op, const View& x, const View& y) {
  EMULSION_CHECK(x && y && x.dtype == y.dtype && x.numel() == y.numel(), op, ": operands ",
                 dtype_name(x.dtype), ' ', x.shape, " and ", dtype_name(y.dtype), ' ', y.shape,
                 " must have the same dtype and size");
}

static inline void check_binary(const char* op, const View& a, const View& b, const View& y) {
  EMULSION_CHECK(a && b && y && a.dtype == b.dtype && a.dtype == y.dtype, op,
                 ": operands must have the same dtype");
}

static inline void check_compare(const char* op, const View& a, const View& b, const View& y) {
  EMULSION_CHECK(a && b && y && a.dtype == b.dtype && y.dtype == DType::boolean, op,
                 ": operands must have the same dtype and the result must be bool");
}

static inline void check_logical(const char* op, const View& a, const View& b, const View& y) {
  EMULSION_CHECK(a && b && y && a.dtype == DType::boolean && b.dtype == DType::boolean &&
                     y.dtype == DType::boolean,
                 op, ": operands and result must be bool");
}

static inline void check_where(const View& condition, const View& a, const View& b, const View& y) {
  EMULSION_CHECK(condition && condition.dtype == DType::boolean,
                 "where: the condition must be bool");
  check_binary("where", a, b, y);
}

}  // namespace emulsion
