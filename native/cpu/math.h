// Functions of a whole vector. float32 is a polynomial within a few units in the last place; float64, the
// oracle, asks the C library lane by lane, as do the functions that no hot loop needs.
#pragma once

#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Applies a scalar function to each lane.
template <class T, class Function>
EMULSION_INLINE Vec<T> lanewise(Vec<T> x, Function function) {
  Vec<T> y;
  for (int i = 0; i < Vec<T>::size; ++i) y.lanes[i] = function(x.lanes[i]);
  return y;
}

template <class T>
EMULSION_INLINE Vec<T> copysign(Vec<T> magnitude, Vec<T> sign) {
  using Mask = typename Vec<T>::Mask;
  const Mask bit = (Mask)Vec<T>(T(-0.0)).lanes;
  return Vec<T>((typename Vec<T>::Native)(((Mask)magnitude.lanes & ~bit) | ((Mask)sign.lanes & bit)));
}

// Natural logarithm after Cephes' logf: x = m·2^e with m in [√½, √2), polynomial in m − 1.
EMULSION_INLINE Vec<float> log(Vec<float> x) {
  using V = Vec<float>;
  const V smallest(1.17549435e-38f);
  const V::Mask tiny = x < smallest;
  const V scaled = select(tiny, x * V(8388608.0f), x);  // subnormals: times 2^23
  const V::Mask bits = (V::Mask)scaled.lanes;
  V::Mask exponent = ((bits >> 23) & 0xff) - 126;
  V m((V::Native)((bits & 0x007fffff) | 0x3f000000));  // [0.5, 1)
  const V::Mask low = m < V(0.70710678118654752f);
  exponent += low;  // the mask is -1
  m = select(low, m + m, m) - V(1.0f);
  const V e = V(__builtin_convertvector(exponent, V::Native)) - select(tiny, V(23.0f), V(0.0f));
  const V z = m * m;
  V p(7.0376836292e-2f);
  p = fma(p, m, V(-1.1514610310e-1f));
  p = fma(p, m, V(1.1676998740e-1f));
  p = fma(p, m, V(-1.2420140846e-1f));
  p = fma(p, m, V(1.4249322787e-1f));
  p = fma(p, m, V(-1.6668057665e-1f));
  p = fma(p, m, V(2.0000714765e-1f));
  p = fma(p, m, V(-2.4999993993e-1f));
  p = fma(p, m, V(3.3333331174e-1f));
  V y = p * m * z;
  y = fma(e, V(-2.12194440e-4f), y);
  y = fma(V(-0.5f), z, y);
  y = fma(e, V(0.693359375f), m + y);
  y = select(x == V(0.0f), V(-__builtin_inff()), y);
  y = select(x == V(__builtin_inff()), x, y);
  return select(x >= V(0.0f), y, V(__builtin_nanf("")));
}
EMULSION_INLINE Vec<double> log(Vec<double> x) {
  return lanewise(x, [](double v) { return std::log(v); });
}

// Near zero the odd Taylor series, elsewhere 1 − 2/(e^2|x| + 1).
EMULSION_INLINE Vec<float> tanh(Vec<float> x) {
  using V = Vec<float>;
  const V a = abs(x), z = x * x;
  V p(62.0f / 2835.0f);
  p = fma(p, z, V(-17.0f / 315.0f));
  p = fma(p, z, V(2.0f / 15.0f));
  p = fma(p, z, V(-1.0f / 3.0f));
  const V near = fma(p * z, x, x);
  const V far = V(1.0f) - V(2.0f) / (exp(a + a) + V(1.0f));
  return select(a < V(0.3f), near, copysign(far, x));
}
EMULSION_INLINE Vec<double> tanh(Vec<double> x) {
  return lanewise(x, [](double v) { return std::tanh(v); });
}

// Rational approximation of degree 13/8 on [-4, 4], where the function reaches ±1 in float32.
EMULSION_INLINE Vec<float> erf(Vec<float> x) {
  using V = Vec<float>;
  const V c = max(min(x, V(4.0f)), V(-4.0f));
  const V z = c * c;
  V p(-2.72614225801306e-10f);
  p = fma(p, z, V(2.77068142495902e-08f));
  p = fma(p, z, V(-2.10102402082508e-06f));
  p = fma(p, z, V(-5.69250639462346e-05f));
  p = fma(p, z, V(-7.34990630326855e-04f));
  p = fma(p, z, V(-2.95459980854025e-03f));
  p = fma(p, z, V(-1.60960333262415e-02f));
  V q(-1.45660718464996e-05f);
  q = fma(q, z, V(-2.13374055278905e-04f));
  q = fma(q, z, V(-1.68282697438203e-03f));
  q = fma(q, z, V(-7.37332916720468e-03f));
  q = fma(q, z, V(-1.42647390514189e-02f));
  return select(x == x, c * p / q, x);
}
EMULSION_INLINE Vec<double> erf(Vec<double> x) {
  return lanewise(x, [](double v) { return std::erf(v); });
}

template <class T>
EMULSION_INLINE Vec<T> sigmoid(Vec<T> x) {
  return Vec<T>(T(1)) / (Vec<T>(T(1)) + exp(-x));
}

// Not in any hot loop.
#define EMULSION_LANEWISE(name)                                   \
  template <class T>                                              \
  EMULSION_INLINE Vec<T> name(Vec<T> x) {                         \
    return lanewise(x, [](T v) -> T { return std::name(v); });    \
  }
EMULSION_LANEWISE(log1p)
EMULSION_LANEWISE(expm1)
EMULSION_LANEWISE(sin)
EMULSION_LANEWISE(cos)
EMULSION_LANEWISE(floor)
EMULSION_LANEWISE(ceil)
EMULSION_LANEWISE(nearbyint)
#undef EMULSION_LANEWISE

template <class T>
EMULSION_INLINE Vec<T> pow(Vec<T> x, Vec<T> y) {
  Vec<T> result;
  for (int i = 0; i < Vec<T>::size; ++i) result.lanes[i] = std::pow(x.lanes[i], y.lanes[i]);
  return result;
}

// ln(1 + e^x) without overflow.
template <class T>
EMULSION_INLINE Vec<T> softplus(Vec<T> x) {
  return max(x, Vec<T>::zero()) + log1p(exp(-abs(x)));
}

template <class T>
EMULSION_INLINE Int<T> abs(Int<T> x) {
  return x < Int<T>(T(0)) ? -x : x;
}
template <class T>
EMULSION_INLINE Int<T> max(Int<T> a, Int<T> b) {
  return a > b ? a : b;
}
template <class T>
EMULSION_INLINE Int<T> min(Int<T> a, Int<T> b) {
  return a < b ? a : b;
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
