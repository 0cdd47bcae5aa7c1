// Standard normals from random words, in the same bits on every device and instruction set.
// Box-Muller with the logarithm, sine and cosine as explicit polynomials: every product that is
// added to something is written as a fused multiply-add, so a compiler that may contract has
// nothing left to decide; the remaining operations (single products, sums, sqrt, conversions) are
// correctly rounded everywhere.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

namespace emulsion {

EMULSION_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

struct NormalPair {
  float first, second;
};

// -2 ln u for u = (word + 1/2) / 2^32. The mantissa is reduced to [sqrt(1/2), sqrt(2)), where ln(1
// + f) = f - f²/2 + f³ P(f) with Cephes' minimax P; below 1e-7 relative.
EMULSION_INLINE float minus_two_log(uint32_t word) {
  const float u = fused(static_cast<float>(word), 2.3283064365386963e-10f, 1.1641532182693481e-10f);
  int32_t bits;
  std::memcpy(&bits, &u, 4);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;  // 0x3f3504f3: sqrt(1/2)
  bits -= exponent * (1 << 23);
  float m;
  std::memcpy(&m, &bits, 4);
  const float f = m - 1.0f, e = static_cast<float>(exponent), square = f * f;
  float p = 7.0376836292e-2f;
  p = fused(p, f, -1.1514610310e-1f);
  p = fused(p, f, 1.1676998740e-1f);
  p = fused(p, f, -1.2420140846e-1f);
  p = fused(p, f, 1.4249322787e-1f);
  p = fused(p, f, -1.6668057665e-1f);
  p = fused(p, f, 2.0000714765e-1f);
  p = fused(p, f, -2.4999993993e-1f);
  p = fused(p, f, 3.3333331174e-1f);
  const float cube = square * f;
  float log = fused(p, cube, e * -2.12194440e-4f);  // ln 2 = 0.693359375 - 2.1219444e-4
  log = fused(square, -0.5f, log);
  log = log + f;
  log = fused(e, 0.693359375f, log);
  // u rounds to 1 for the last words: their logarithm is 0, never positive.
  return log < 0.0f ? -2.0f * log : 0.0f;
}

// A uniformly distributed point of the unit circle: the word's top two bits choose the quadrant,
// the rest the angle within [-π/4, π/4), where short Taylor-like polynomials are exact to the last
// bit or two.
EMULSION_INLINE NormalPair box_muller(uint32_t radius_word, uint32_t angle_word) {
  const float r = __builtin_sqrtf(minus_two_log(radius_word));
  const float a =
      static_cast<float>(static_cast<int32_t>(angle_word << 2)) * 3.6572951e-10f;  // π/2 / 2^32
  const float square = a * a;
  float s = fused(-1.9515295891e-4f, square, 8.3321608736e-3f);
  s = fused(s, square, -1.6666654611e-1f);
  const float sine = fused(s * square, a, a);
  float c = fused(2.443315711809948e-5f, square, -1.388731625493765e-3f);
  c = fused(c, square, 4.166664568298827e-2f);
  c = fused(c, square, -0.5f);
  const float cosine = fused(c, square, 1.0f);
  const bool swap = (angle_word & 0x40000000u) != 0, negate = (angle_word & 0x80000000u) != 0;
  const float x = swap ? -sine : cosine, y = swap ? cosine : sine;
  return {r * (negate ? -x : x), r * (negate ? -y : y)};
}

}  // namespace emulsion
