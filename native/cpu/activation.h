// The activations that matrix kernels apply to their results, value and derivative side by side.
#pragma once

#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// x·σ(x)
template <class T>
EMULSION_INLINE Vec<T> silu(Vec<T> x) {
  return x / (Vec<T>(1) + exp(-x));
}
template <class T>
EMULSION_INLINE Vec<T> silu_derivative(Vec<T> x) {
  const Vec<T> one(1), s = one / (one + exp(-x));
  return s * (one + x * (one - s));
}

// Φ(x), the normal distribution function, and φ(x), its density. Φ(-|x|) = erfc(z)/2 with z =
// |x|/√2, and erfc(z)·exp(z²) is smooth in t = 1/(1 + 0.4 z): the polynomial (our own minimax fit
// on z ≤ 10) is good to 1.5e-7 relative, so that the left tail keeps its digits.
struct NormalDistribution {
  Vec<float> cdf, density;
};
EMULSION_INLINE NormalDistribution normal_distribution(Vec<float> x) {
  using V = Vec<float>;
  const V t = V(1) / fma(abs(x), V(0.4f * 0.70710678f), V(1));
  V p(-0.035648853f);
  p = fma(p, t, V(0.23081717f));
  p = fma(p, t, V(-0.57565445f));
  p = fma(p, t, V(0.6493277f));
  p = fma(p, t, V(-0.36842957f));
  p = fma(p, t, V(0.31669742f));
  p = fma(p, t, V(0.114468925f));
  p = fma(p, t, V(0.21812105f));
  p = fma(p, t, V(0.22457479f));
  p = fma(p, t, V(0.22572584f));
  const V e = exp(x * x * V(-0.5f));
  const V tail = p * t * e * V(0.5f);
  return {select(x > V::zero(), V(1) - tail, tail), e * V(0.3989422804f)};
}

// x·Φ(x), the exact form
EMULSION_INLINE Vec<float> gelu(Vec<float> x) { return x * normal_distribution(x).cdf; }
EMULSION_INLINE Vec<float> gelu_derivative(Vec<float> x) {
  const NormalDistribution normal = normal_distribution(x);
  return fma(x, normal.density, normal.cdf);
}
EMULSION_INLINE Vec<double> gelu(Vec<double> x) {
  for (int i = 0; i < Vec<double>::size; ++i)
    x.lanes[i] *= 0.5 * std::erfc(-x.lanes[i] * M_SQRT1_2);
  return x;
}
EMULSION_INLINE Vec<double> gelu_derivative(Vec<double> x) {
  for (int i = 0; i < Vec<double>::size; ++i) {
    const double v = x.lanes[i];
    x.lanes[i] = 0.5 * std::erfc(-v * M_SQRT1_2) +
                 v * std::exp(-0.5 * v * v) * (0.5 * M_2_SQRTPI * M_SQRT1_2);
  }
  return x;
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
