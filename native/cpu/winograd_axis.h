// One axis of Winograd's minimal filtering F(m, 3): m neighbouring outputs of a filter of three
// taps by m + 2 products. The transforms work in place, on values `step` apart.
//
// F(4, 3) takes 0, ±5/8, ±3/2 and infinity for its points where the usual choice is 0, ±1, ±2 and
// infinity. What the errors of the products grow by is Σ_j |A_j|² |G_j|² |B_j|², over the rows of
// the three matrices: 10.8 times three roundings per output for the usual choice, 4.8 for this one
// (4.74 is the least), 1.7 for F(2, 3). All of A and B is exact in binary.
#pragma once

#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace winograd {

template <int m>
struct Axis;

// The definition, for gradients of filters: no transforms, a product for each tap.
template <>
struct Axis<1> {
  static constexpr int outputs = 1, points = 3;

  template <class V>
  EMULSION_INLINE static void input(V*, int) {}
  template <class V>
  EMULSION_INLINE static void output_transposed(V* y, int step) {
    y[step] = y[2 * step] = y[0];
  }
  template <class V>
  EMULSION_INLINE static void filter_transposed(V*, int) {}
};

template <>
struct Axis<2> {
  static constexpr int outputs = 2, points = 4;

  template <class V>
  EMULSION_INLINE static void input(V* d, int step) {
    const V a = d[0] - d[2 * step], b = d[step] + d[2 * step];
    const V c = d[2 * step] - d[step], e = d[step] - d[3 * step];
    d[0] = a, d[step] = b, d[2 * step] = c, d[3 * step] = e;
  }
  template <class V>
  EMULSION_INLINE static void output(V* m, int step) {
    const V middle = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    m[0] += middle;
    m[step] = difference - m[3 * step];
  }
  template <class V>
  EMULSION_INLINE static void output_transposed(V* y, int step) {
    const V a = y[0], b = y[step];
    y[step] = a + b, y[2 * step] = a - b, y[3 * step] = -b;
  }
  template <class V>
  EMULSION_INLINE static void filter(V* g, int step) {
    const V half(0.5f), outer = (g[0] + g[2 * step]) * half, inner = g[step] * half;
    g[3 * step] = g[2 * step];
    g[step] = outer + inner, g[2 * step] = outer - inner;
  }
  template <class V>
  EMULSION_INLINE static void filter_transposed(V* u, int step) {
    const V half(0.5f), sum = (u[step] + u[2 * step]) * half;
    const V difference = (u[step] - u[2 * step]) * half;
    u[0] += sum, u[step] = difference, u[2 * step] = sum + u[3 * step];
  }
};

template <>
struct Axis<4> {
  static constexpr int outputs = 4, points = 6;

  template <class V>
  EMULSION_INLINE static void input(V* d, int step) {
    const V pp(-p * p), qq(-q * q), sum(-(p * p + q * q)), product(p * p * q * q);
    const V even_p = fma(qq, d[2 * step], d[4 * step]), odd_p = fma(qq, d[step], d[3 * step]);
    const V even_q = fma(pp, d[2 * step], d[4 * step]), odd_q = fma(pp, d[step], d[3 * step]);
    d[0] = fma(product, d[0], fma(sum, d[2 * step], d[4 * step]));
    d[5 * step] = fma(product, d[step], fma(sum, d[3 * step], d[5 * step]));
    d[step] = fma(V(p), odd_p, even_p), d[2 * step] = fma(V(-p), odd_p, even_p);
    d[3 * step] = fma(V(q), odd_q, even_q), d[4 * step] = fma(V(-q), odd_q, even_q);
  }
  template <class V>
  EMULSION_INLINE static void output(V* m, int step) {
    const V even_p = m[step] + m[2 * step], odd_p = m[step] - m[2 * step];
    const V even_q = m[3 * step] + m[4 * step], odd_q = m[3 * step] - m[4 * step];
    m[0] += even_p + even_q;
    m[step] = fma(V(p), odd_p, V(q) * odd_q);
    m[2 * step] = fma(V(p * p), even_p, V(q * q) * even_q);
    m[3 * step] = fma(V(p * p * p), odd_p, fma(V(q * q * q), odd_q, m[5 * step]));
  }
  template <class V>
  EMULSION_INLINE static void filter(V* g, int step) {
    const V a = g[0], b = g[step], c = g[2 * step];
    const V even_p = fma(V(by_p * p * p), c, V(by_p) * a), odd_p = V(by_p * p) * b;
    const V even_q = fma(V(by_q * q * q), c, V(by_q) * a), odd_q = V(by_q * q) * b;
    g[0] = V(1 / (p * p * q * q)) * a;
    g[step] = even_p + odd_p, g[2 * step] = even_p - odd_p;
    g[3 * step] = even_q + odd_q, g[4 * step] = even_q - odd_q;
    g[5 * step] = c;
  }
  template <class V>
  EMULSION_INLINE static void output_transposed(V* y, int step) {
    const V pp(p * p), qq(q * q);
    const V even_p = fma(pp, y[2 * step], y[0]), odd_p = fma(pp, y[3 * step], y[step]);
    const V even_q = fma(qq, y[2 * step], y[0]), odd_q = fma(qq, y[3 * step], y[step]);
    y[5 * step] = y[3 * step];
    y[step] = fma(V(p), odd_p, even_p), y[2 * step] = fma(V(-p), odd_p, even_p);
    y[3 * step] = fma(V(q), odd_q, even_q), y[4 * step] = fma(V(-q), odd_q, even_q);
  }
  template <class V>
  EMULSION_INLINE static void filter_transposed(V* u, int step) {
    const V even_p = u[step] + u[2 * step], odd_p = u[step] - u[2 * step];
    const V even_q = u[3 * step] + u[4 * step], odd_q = u[3 * step] - u[4 * step];
    u[0] = fma(V(1 / (p * p * q * q)), u[0], fma(V(by_p), even_p, V(by_q) * even_q));
    u[step] = fma(V(by_p * p), odd_p, V(by_q * q) * odd_q);
    u[2 * step] = fma(V(by_p * p * p), even_p, fma(V(by_q * q * q), even_q, u[5 * step]));
  }

 private:
  // The points and what Lagrange's polynomials divide by there.
  static constexpr double exact_p = 0.625, exact_q = 1.5;
  static constexpr float p = static_cast<float>(exact_p), q = static_cast<float>(exact_q);
  static constexpr double by_p =
      1 / (2 * exact_p * exact_p * (exact_p * exact_p - exact_q * exact_q));
  static constexpr double by_q =
      1 / (2 * exact_q * exact_q * (exact_q * exact_q - exact_p * exact_p));
};

// F(tall x wide, 3x3).
template <int tall, int wide>
struct Form {
  using Rows = Axis<tall>;
  using Columns = Axis<wide>;
  static constexpr int points = Rows::points * Columns::points;
};

}  // namespace winograd
}  // namespace emulsion::cpu::EMULSION_LEVEL
