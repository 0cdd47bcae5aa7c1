// The three walks over rows of channels that group norm and batch norm are made of, one fused
// multiply-add chain per element and optionally SiLU:
//
//   normalize_rows   v = (x - center)·scale + offset, y = v or v·σ(v)
//   gradient_sums    per channel Σ dv and Σ dv·(x - center), where dv = dy or dy·silu'(v)
//   gradient_rows    dx = dv·p + (x - center)·q + r
//
// Subtracting the centre first, instead of folding it into the offset, keeps the digits of a small
// deviation about a large mean. All coefficients are per channel and padded to whole vectors.
#pragma once

#include "cpu/math.h"
#include "cpu/norm.h"

namespace emulsion::cpu::EMULSION_LEVEL {

template <class A>
struct Coefficients {
  A *center, *scale, *offset;  // of v
  A *p, *q, *r;                // of dx

  // In a scratch slot of the calling thread; padding is zero.
  Coefficients(int slot, int64_t channels) {
    const int64_t width = padded(channels);
    A* block = scratch<A>(slot, 6 * width);
    for (int64_t i = 0; i < 6 * width; ++i) block[i] = 0;
    A** fields[] = {&center, &scale, &offset, &p, &q, &r};
    for (int i = 0; i < 6; ++i) *fields[i] = block + i * width;
  }
};

// 1 + e^-x, the denominator of the logistic function. The exponent is rounded once more where exp
// would reduce it exactly: that costs no more than the rounding of x itself did.
EMULSION_INLINE Vec<float> one_plus_exp_minus(Vec<float> x) {
  using V = Vec<float>;
#if defined(__AVX512F__)
  // The fraction of an infinite exponent is zero.
  const __m512 t = (__m512)(x * V(-1.44269504088896341f)).lanes;
  const __m512 n = _mm512_maskz_roundscale_ps(all_lanes, t, _MM_FROUND_NO_EXC);
  const V f((V::Native)_mm512_maskz_reduce_ps(all_lanes, t, _MM_FROUND_NO_EXC));
  const V p = exp2_fraction(f);
  return V(1.0f) + V((V::Native)_mm512_maskz_scalef_ps(all_lanes, (__m512)p.lanes, n));
#else
  return V(1.0f) + exp2(min(V(127.0f), x * V(-1.44269504088896341f)));  // NaN stays
#endif
}

EMULSION_INLINE Vec<double> one_plus_exp_minus(Vec<double> x) { return Vec<double>(1.0) + exp(-x); }

// silu(v) = v·σ(v), and its derivative σ(v)·(1 + v·(1 - σ(v))).
template <bool silu, class A>
EMULSION_INLINE Vec<A> activate(Vec<A> v) {
  if constexpr (silu) return v / one_plus_exp_minus(v);
  return v;
}
template <bool silu, class A>
EMULSION_INLINE Vec<A> activation_gradient(Vec<A> dy, Vec<A> v) {
  if constexpr (silu) {
    const Vec<A> one(A(1));
    const Vec<A> s = one / one_plus_exp_minus(v);
    return dy * s * fma(v, one - s, one);
  }
  return dy;
}

template <bool silu, class T, class A>
void normalize_rows(const T* x, int64_t rows, int64_t channels, const Coefficients<A>& k, T* y,
                    bool past) {
  using V = Vec<A>;
  for_row_blocks(rows, channels, [&](int64_t row, auto count) {
    const int64_t at = row * channels;
    for_columns<A>(channels, past, [&](int64_t c, auto column) {
      const V center = V::load(k.center + c), scale = V::load(k.scale + c),
              offset = V::load(k.offset + c);
      for (int i = 0; i < count.value; ++i) {
        const int64_t here = at + i * channels + c;
        if (!past) prefetch_pages_ahead<for_writing>(y + here);
        const V v = fma(column.load(x + here) - center, scale, offset);
        column.store(activate<silu>(v), y + here);
      }
    });
  });
}

// sums: [2][channels], Σ dv and Σ dv·(x - center). kept: where dv goes too, or null.
template <bool silu, class T, class A>
void gradient_sums(const T* dy, const T* x, int64_t rows, int64_t channels,
                   const Coefficients<A>& k, double* sums, A* kept = nullptr) {
  using V = Vec<A>;
  const int64_t width = padded(channels);
  A* first = scratch<A>(7, 2 * width);
  A* second = first + width;
  for (int64_t c = 0; c < 2 * width; ++c) first[c] = 0;
  for_row_blocks(rows, channels, [&](int64_t row, auto count) {
    const int64_t at = row * channels;
    for_columns<A>(channels, [&](int64_t c, auto column) {
      const V center = V::load(k.center + c), scale = V::load(k.scale + c),
              offset = V::load(k.offset + c);
      V sum = V::load(first + c), product = V::load(second + c);
      for (int i = 0; i < count.value; ++i) {
        const int64_t here = at + i * channels + c;
        prefetch_pages_ahead(x + here);
        prefetch_pages_ahead(dy + here);
        const V deviation = column.load(x + here) - center;
        const V dv =
            activation_gradient<silu>(column.load(dy + here), fma(deviation, scale, offset));
        if (kept) {
          prefetch_pages_ahead<for_writing>(kept + here);
          column.store(dv, kept + here);
        }
        sum += dv;
        product = fma(dv, deviation, product);
      }
      sum.store(first + c);
      product.store(second + c);
    });
  });
  for (int64_t c = 0; c < channels; ++c) {
    sums[c] = static_cast<double>(first[c]);
    sums[channels + c] = static_cast<double>(second[c]);
  }
}

template <bool silu, class T, class A>
void gradient_rows(const T* dy, const T* x, int64_t rows, int64_t channels,
                   const Coefficients<A>& k, T* dx, bool past) {
  using V = Vec<A>;
  for_row_blocks(rows, channels, [&](int64_t row, auto count) {
    const int64_t at = row * channels;
    for_columns<A>(channels, past, [&](int64_t c, auto column) {
      const V center = V::load(k.center + c), scale = V::load(k.scale + c),
              offset = V::load(k.offset + c);
      const V p = V::load(k.p + c), q = V::load(k.q + c), r = V::load(k.r + c);
      for (int i = 0; i < count.value; ++i) {
        const int64_t here = at + i * channels + c;
        prefetch_pages_ahead(x + here);
        prefetch_pages_ahead(dy + here);
        const V deviation = column.load(x + here) - center;
        const V dv =
            activation_gradient<silu>(column.load(dy + here), fma(deviation, scale, offset));
        column.store(fma(dv, p, fma(deviation, q, r)), dx + here);
      }
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
