// Elementary functions on vectors. Vec<float>: polynomials, fitted to their interval for the least
// relative error, of some 2 units in the last place; the whole range, subnormals, infinities and
// NaN are handled. Vec<double>: the C library lane by lane, exact rather than fast. exp and sqrt
// are in simd.h.
#pragma once

#include <cmath>

#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Whether a lane of a comparison is true.
template <class Mask>
EMULSION_INLINE bool any(Mask mask) {
  constexpr int lanes = sizeof(mask) / sizeof(mask[0]);
#if defined(__AVX512F__)
  if constexpr (lanes == Vec<float>::size) return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  if constexpr (lanes == Vec<float>::size) return _mm256_movemask_ps((__m256)mask) != 0;
#endif
  bool joined = false;
  for (int i = 0; i < lanes; ++i) joined |= mask[i] != 0;
  return joined;
}

namespace detail {

// c[0] x^n + ... + c[n]
template <int count>
EMULSION_INLINE Vec<float> polynomial(Vec<float> x, const float (&c)[count]) {
  Vec<float> p(c[0]);
  for (int i = 1; i < count; ++i) p = fma(p, x, Vec<float>(c[i]));
  return p;
}

EMULSION_INLINE Vec<float> copy_sign(Vec<float> magnitude, Vec<float> sign) {
  using V = Vec<float>;
  const V::Mask bit = (V::Mask)V(-0.0f).lanes;
  return V((V::Native)(((V::Mask)magnitude.lanes & ~bit) | ((V::Mask)sign.lanes & bit)));
}

// e^(-z²): the square's rounding error, which the exponential would magnify, is put back.
EMULSION_INLINE Vec<float> exp_minus_square(Vec<float> z) {
  const Vec<float> square = z * z;
  const Vec<float> error = fma(z, z, -square);
  return exp(-square) * (Vec<float>(1) - error);
}

// erfc(z) for z >= 0, as e^(-z²) times a polynomial in 1 / (1 + 0.4 z).
EMULSION_INLINE Vec<float> erfc_positive(Vec<float> z) {
  constexpr float c[] = {-3.836455196e-02f, 2.484772652e-01f, -6.259853840e-01f, 7.319358587e-01f,
                         -4.546965361e-01f, 3.764371872e-01f, 8.675993979e-02f,  2.265990525e-01f,
                         2.229408920e-01f,  2.259046584e-01f, -8.433088624e-06f};
  const Vec<float> t = Vec<float>(1) / fma(z, Vec<float>(0.4f), Vec<float>(1));
  return exp_minus_square(z) * polynomial(t, c);
}

}  // namespace detail

// x = 2^e m with m in [√½, √2); log(m) = f - f²/2 + f³ P(f), f = m - 1.
EMULSION_INLINE Vec<float> log(Vec<float> x) {
  using V = Vec<float>;
  using Mask = V::Mask;
  constexpr float c[] = {-7.634429634e-02f, 1.276154965e-01f, -1.316019446e-01f, 1.420176178e-01f,
                         -1.662335694e-01f, 2.000122666e-01f, -2.500082254e-01f, 3.333333135e-01f};
  const Mask tiny = x < V(1.17549435e-38f);  // subnormals, as 2^23 times themselves
  const V scaled = select(tiny, x * V(8388608.0f), x);
  const Mask bits =
      (Mask)scaled.lanes - 0x3f3504f3;  // the bits of √½: the exponent's field then is e
  const Mask exponent = bits >> 23;
  const V f = V((V::Native)((bits & 0x007fffff) + 0x3f3504f3)) - V(1);
  const V e = V(__builtin_convertvector(exponent, V::Native)) - select(tiny, V(23), V(0));
  const V square = f * f;
  V y = f * square * detail::polynomial(f, c);
  y = fma(e, V(-2.12194440e-4f), y);  // log 2 in two parts, the first exact in every product
  y = fma(square, V(-0.5f), y);
  y = fma(e, V(0.693359375f), y + f);
  y = select(x == V(0), V(-INFINITY), y);
  y = select(x < V(0), V(NAN), y);
  return select(x < V(INFINITY), y, x);  // ∞ and NaN stay
}

// log(u) corrected for what 1 + x rounded away.
EMULSION_INLINE Vec<float> log1p(Vec<float> x) {
  using V = Vec<float>;
  const V u = V(1) + x;
  const V lost = x - (u - V(1));
  const V y = log(u) + select(u > V(0), lost / u, V(0));
  return select(u == V(1), x, select(u < V(INFINITY), y, u));
}

EMULSION_INLINE Vec<float> expm1(Vec<float> x) {
  using V = Vec<float>;
  constexpr float c[] = {1.984603878e-04f, 1.394269872e-03f, 8.333394304e-03f,
                         4.166633636e-02f, 1.666666567e-01f, 5.000000000e-01f};
  const V small = fma(x * x, detail::polynomial(x, c), x);
  return select(abs(x) < V(0.3466f), small, exp(x) - V(1));
}

// -expm1(-2|x|) / (2 + expm1(-2|x|)) with x's sign.
EMULSION_INLINE Vec<float> tanh(Vec<float> x) {
  const Vec<float> t = expm1(abs(x) * Vec<float>(-2));
  return detail::copy_sign(t / (t + Vec<float>(2)), x);
}

EMULSION_INLINE Vec<float> erf(Vec<float> x) {
  using V = Vec<float>;
  constexpr float c[] = {7.853857824e-05f, -8.010192541e-04f, 5.188327748e-03f, -2.685381100e-02f,
                         1.128358543e-01f, -3.761262596e-01f, 1.128379107e+00f};
  const V z = min(abs(x), V(5));  // 1 to the last bit from 4 on
  const V large = detail::copy_sign(V(1) - detail::erfc_positive(z), x);
  const V y = select(z < V(1), x * detail::polynomial(x * x, c), large);
  return select(x == x, y, x);
}

EMULSION_INLINE Vec<float> erfc(Vec<float> x) {
  using V = Vec<float>;
  const V tail = detail::erfc_positive(min(abs(x), V(10.1f)));  // 0 from there on
  const V y = select(x < V(0), V(2) - tail, tail);
  return select(x == x, y, x);
}

namespace detail {

// sin(x + quarter·π/2). Up to 2^13 quarters the reduction is exact but for its last product;
// arguments beyond go to the C library.
EMULSION_INLINE Vec<float> sine(Vec<float> x, int quarter) {
  using V = Vec<float>;
  using Mask = V::Mask;
  constexpr float odd[] = {2.717606776e-06f, -1.983926195e-04f, 8.333329111e-03f,
                           -1.666666716e-01f};
  constexpr float even[] = {2.443133963e-05f, -1.388730714e-03f, 4.166664556e-02f};
  const V magic(12582912.0f);  // 1.5·2^23: adding it rounds to the nearest integer
  const V n = fma(x, V(0.636619772f), magic) - magic;
  V r = fma(n, V(-1.5703125f), x);
  r = fma(n, V(-4.837512969970703e-4f), r);
  r = fma(n, V(-7.549790126404332e-8f), r);
  const V s = r * r;
  const V sine = fma(r * s, polynomial(s, odd), r);
  const V cosine = fma(s * s, polynomial(s, even), fma(s, V(-0.5f), V(1)));
  const Mask turn = __builtin_convertvector(n.lanes, Mask) + quarter;
  V y = select(Mask((turn & 1) == 0), sine, cosine);
  y = select(Mask((turn & 2) == 0), y, -y);
  const Mask far = abs(x) > V(12000.0f);
  if (__builtin_expect(any(far), 0))
    for (int i = 0; i < V::size; ++i)
      if (far[i]) y.lanes[i] = quarter ? std::cos(x.lanes[i]) : std::sin(x.lanes[i]);
  return select(x == x, y, x);
}

}  // namespace detail

EMULSION_INLINE Vec<float> sin(Vec<float> x) { return detail::sine(x, 0); }
EMULSION_INLINE Vec<float> cos(Vec<float> x) { return detail::sine(x, 1); }

// 1 / (1 + e^-x) from e^-|x|, which cannot overflow: accurate to the smallest results.
template <class T>
EMULSION_INLINE Vec<T> sigmoid(Vec<T> x) {
  using V = Vec<T>;
  const V e = exp(-abs(x));
  const V s = V(1) / (V(1) + e);
  return select(x < V(0), e * s, s);
}

// ln(1 + e^x) without overflow.
template <class T>
EMULSION_INLINE Vec<T> softplus(Vec<T> x) {
  return log1p(exp(-abs(x))) + select(x < Vec<T>(0), Vec<T>(0), x);
}

#define EMULSION_LANEWISE(name, T)                                             \
  EMULSION_INLINE Vec<T> name(Vec<T> x) {                                      \
    Vec<T> y;                                                                  \
    for (int i = 0; i < Vec<T>::size; ++i) y.lanes[i] = std::name(x.lanes[i]); \
    return y;                                                                  \
  }
EMULSION_LANEWISE(floor, float)
EMULSION_LANEWISE(ceil, float)
EMULSION_LANEWISE(nearbyint, float)
EMULSION_LANEWISE(floor, double)
EMULSION_LANEWISE(ceil, double)
EMULSION_LANEWISE(nearbyint, double)
EMULSION_LANEWISE(log, double)
EMULSION_LANEWISE(log1p, double)
EMULSION_LANEWISE(expm1, double)
EMULSION_LANEWISE(tanh, double)
EMULSION_LANEWISE(erf, double)
EMULSION_LANEWISE(erfc, double)
EMULSION_LANEWISE(sin, double)
EMULSION_LANEWISE(cos, double)
#undef EMULSION_LANEWISE

// Rare with an exponent that varies; a product of log and exp would lose up to 7 bits.
template <class T>
EMULSION_INLINE Vec<T> pow(Vec<T> x, Vec<T> y) {
  Vec<T> result;
  for (int i = 0; i < Vec<T>::size; ++i) result.lanes[i] = std::pow(x.lanes[i], y.lanes[i]);
  return result;
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
