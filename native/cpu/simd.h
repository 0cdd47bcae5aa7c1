// A thin vector type over the compiler's vector extensions, so that a kernel is written once and
// compiled for every instruction-set level (EMULSION_LEVEL: baseline, avx2, avx512, neon).
// Everything lives in the level's namespace: no instruction of a higher level can leak into a lower
// one.
//
// Vec<float> and Vec<double> compute; loads and stores convert from and to bfloat16 and float16,
// whose arithmetic is float32 by contract.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/dtype.h"

#if !defined(EMULSION_LEVEL)
#define EMULSION_LEVEL baseline
#endif

namespace emulsion::cpu::EMULSION_LEVEL {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

// The vector types by name: GCC drops the attribute from a type that depends on a template
// parameter.
template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float Native __attribute__((vector_size(vector_bytes)));
  typedef int32_t Mask __attribute__((vector_size(vector_bytes)));
};
template <>
struct Lanes<double> {
  typedef double Native __attribute__((vector_size(vector_bytes)));
  typedef int64_t Mask __attribute__((vector_size(vector_bytes)));
};

template <class T>
struct Vec {
  static constexpr int size = vector_bytes / static_cast<int>(sizeof(T));
  using Native = typename Lanes<T>::Native;
  using Mask = typename Lanes<T>::Mask;  // all bits of a lane set where true

  Native lanes;

  Vec() = default;
  EMULSION_INLINE Vec(Native native) : lanes(native) {}
  // x - 0 is x for every x, -0 and NaN included, so that the compiler sees a plain broadcast.
  EMULSION_INLINE explicit Vec(T value) : lanes(value - Native{}) {}

  EMULSION_INLINE static Vec zero() { return Vec(Native{}); }

  template <class Stored>
  EMULSION_INLINE static Vec load(const Stored* from);
  // Lanes at and after count become zero; memory there is not touched.
  template <class Stored>
  EMULSION_INLINE static Vec load_partial(const Stored* from, int64_t count);
  template <class Stored>
  EMULSION_INLINE void store(Stored* to) const;
  template <class Stored>
  EMULSION_INLINE void store_partial(Stored* to, int64_t count) const;
  // Past the caches, where the level can: the lines are not read first, and push out nothing. `to`
  // is aligned to the vector. Seen by other threads when the parallel region has ended.
  EMULSION_INLINE void store_past(T* to) const;

  EMULSION_INLINE T operator[](int lane) const { return lanes[lane]; }

  EMULSION_INLINE Vec operator+(Vec other) const { return lanes + other.lanes; }
  EMULSION_INLINE Vec operator-(Vec other) const { return lanes - other.lanes; }
  EMULSION_INLINE Vec operator*(Vec other) const { return lanes * other.lanes; }
  EMULSION_INLINE Vec operator/(Vec other) const { return lanes / other.lanes; }
  EMULSION_INLINE Vec operator-() const { return -lanes; }
  EMULSION_INLINE Vec& operator+=(Vec other) { return *this = *this + other; }
  EMULSION_INLINE Vec& operator-=(Vec other) { return *this = *this - other; }
  EMULSION_INLINE Vec& operator*=(Vec other) { return *this = *this * other; }

  EMULSION_INLINE Mask operator<(Vec other) const { return (Mask)(lanes < other.lanes); }
  EMULSION_INLINE Mask operator>(Vec other) const { return (Mask)(lanes > other.lanes); }
  EMULSION_INLINE Mask operator<=(Vec other) const { return (Mask)(lanes <= other.lanes); }
  EMULSION_INLINE Mask operator>=(Vec other) const { return (Mask)(lanes >= other.lanes); }
  EMULSION_INLINE Mask operator==(Vec other) const { return (Mask)(lanes == other.lanes); }
};

// a·b + c; contracted to one instruction where the level has it (-ffp-contract=fast).
template <class T>
EMULSION_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return a.lanes * b.lanes + c.lanes;
}

// Loads a value once, where there are 32 registers: a compiler may well fold the load into each of
// the products that use it, which 16 registers are too few to do without.
template <class T>
EMULSION_INLINE void keep_in_register([[maybe_unused]] Vec<T>& value) {
#if defined(__AVX512F__)
  asm("" : "+v"(value.lanes));
#elif defined(__aarch64__)
  asm("" : "+w"(value.lanes));
#endif
}

template <class T>
EMULSION_INLINE Vec<T> select(typename Vec<T>::Mask mask, Vec<T> yes, Vec<T> no) {
  return Vec<T>(mask ? yes.lanes : no.lanes);
}

// NaN in b wins, NaN in a loses: the order of the machine instruction.
template <class T>
EMULSION_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return select(a > b, a, b);
}
template <class T>
EMULSION_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return select(a < b, a, b);
}
#if defined(__AVX512F__)
inline constexpr __mmask16 all_lanes = static_cast<__mmask16>(-1);
// The masked forms of intrinsics: the plain ones warn of uninitialised values in GCC 12.
EMULSION_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return (Vec<float>::Native)_mm512_maskz_max_ps(all_lanes, (__m512)a.lanes, (__m512)b.lanes);
}
EMULSION_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return (Vec<float>::Native)_mm512_maskz_min_ps(all_lanes, (__m512)a.lanes, (__m512)b.lanes);
}
#elif defined(__AVX2__)
// By name: beside a constant GCC makes a comparison and a blend of them, three instructions.
EMULSION_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return (Vec<float>::Native)_mm256_max_ps((__m256)a.lanes, (__m256)b.lanes);
}
EMULSION_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return (Vec<float>::Native)_mm256_min_ps((__m256)a.lanes, (__m256)b.lanes);
}
#endif

template <class T>
EMULSION_INLINE Vec<T> abs(Vec<T> a) {
  using V = Vec<T>;
  const typename V::Mask magnitude = ~((typename V::Mask)(V(T(-0.0)).lanes));
  return V((typename V::Native)((typename V::Mask)a.lanes & magnitude));
}

template <class T>
EMULSION_INLINE Vec<T> sqrt(Vec<T> a) {
  Vec<T> result;
  for (int i = 0; i < Vec<T>::size; ++i) result.lanes[i] = __builtin_sqrt(a.lanes[i]);
  return result;
}
#if defined(__AVX512F__)
EMULSION_INLINE Vec<float> sqrt(Vec<float> a) {
  return (Vec<float>::Native)_mm512_maskz_sqrt_ps(all_lanes, (__m512)a.lanes);
}
#elif defined(__AVX2__)
EMULSION_INLINE Vec<float> sqrt(Vec<float> a) {
  return (Vec<float>::Native)_mm256_sqrt_ps((__m256)a.lanes);
}
#endif

// Sum of the lanes, as a balanced tree: the same order at every call.
template <class T>
EMULSION_INLINE T sum(Vec<T> a) {
  T lane[Vec<T>::size];
  a.store(lane);
  for (int width = Vec<T>::size / 2; width >= 1; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

#if defined(__AVX2__)
// The same tree in registers.
EMULSION_INLINE float sum(Vec<float> a) {
#if defined(__AVX512F__)
  constexpr __mmask8 all = static_cast<__mmask8>(-1);
  const __m256 half = _mm512_maskz_extractf32x8_ps(all, (__m512)a.lanes, 0) +
                      _mm512_maskz_extractf32x8_ps(all, (__m512)a.lanes, 1);
#else
  const __m256 half = (__m256)a.lanes;
#endif
  const __m128 four = _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
  const __m128 two = four + _mm_movehl_ps(four, four);
  return _mm_cvtss_f32(two) + _mm_cvtss_f32(_mm_movehdup_ps(two));
}
#endif

template <class T>
EMULSION_INLINE T max_lane(Vec<T> a) {
  T result = a[0];
  for (int i = 1; i < Vec<T>::size; ++i) result = a[i] > result ? a[i] : result;
  return result;
}

// p·2^n for whole n from -252 to 254.
EMULSION_INLINE Vec<float> scale_by_power(Vec<float> p, Vec<float> n) {
  using V = Vec<float>;
#if defined(__AVX512F__)
  return V((V::Native)_mm512_maskz_scalef_ps(all_lanes, (__m512)p.lanes, (__m512)n.lanes));
#else
  // Two half scalings reach subnormal results and 2^128 without overflowing the exponent field.
  const V::Mask whole = __builtin_convertvector(n.lanes, V::Mask);
  const V::Mask half = whole >> 1;
  const V low((V::Native)((half + 127) << 23));
  const V high((V::Native)((whole - half + 127) << 23));
  return p * low * high;
#endif
}

// e^x. Cody-Waite reduction to |r| <= ln2/2, degree-6 polynomial, scaling through the exponent
// bits. At most 1 unit in the last place from the true value between -87.3 and 88.7; 0 below,
// infinity above.
EMULSION_INLINE Vec<float> exp(Vec<float> x) {
  using V = Vec<float>;
  const V clamped = min(V(89.0f), max(V(-104.0f), x));  // NaN stays
  const V magic(12582912.0f);  // 1.5·2^23: adding it rounds to the nearest integer
  const V n = fma(clamped, V(1.44269504088896341f), magic) - magic;
  V r = fma(n, V(-0.693359375f), clamped);
  r = fma(n, V(2.12194440e-4f), r);
  V p = V(1.9875691500e-4f);
  p = fma(p, r, V(1.3981999507e-3f));
  p = fma(p, r, V(8.3334519073e-3f));
  p = fma(p, r, V(4.1665795894e-2f));
  p = fma(p, r, V(1.6666665459e-1f));
  p = fma(p, r, V(5.0000001201e-1f));
  p = fma(p, r * r, r) + V(1.0f);
  return scale_by_power(p, n);
}

// 2^r for |r| <= 1/2: a polynomial of degree 6, at most 1.2e-8 off before rounding.
EMULSION_INLINE Vec<float> exp2_fraction(Vec<float> r) {
  using V = Vec<float>;
  V p(1.53353576e-4f);
  p = fma(p, r, V(1.33988762e-3f));
  p = fma(p, r, V(9.61843785e-3f));
  p = fma(p, r, V(5.55033237e-2f));
  p = fma(p, r, V(2.40226477e-1f));
  p = fma(p, r, V(6.93147182e-1f));
  return fma(p, r, V(1.0f));
}

// 2^x for what is added to 1 or more, as weights of which the largest is 1: half the work of exp,
// since splitting x takes no rounding, and what is less than 2^-126 may be 0. At most 0.7 units in
// the last place from the true value; x is at most 127.
EMULSION_INLINE Vec<float> exp2(Vec<float> x) {
  using V = Vec<float>;
#if defined(__AVX512F__)
  // What rounding to a whole number leaves, of -∞ nothing.
  const V rest((V::Native)_mm512_maskz_reduce_ps(all_lanes, (__m512)x.lanes, 0));
  return scale_by_power(exp2_fraction(rest), x - rest);
#else
  const V magic(12582912.0f);
  const V clamped = max(V(-126.0f), x);
  const V shifted = clamped + magic;  // its last bits are the whole number
  const V p = exp2_fraction(clamped - (shifted - magic));
  const V power((V::Native)(((V::Mask)shifted.lanes << 23) + (127 << 23)));
  return select(x < V(-126.0f), V::zero(), p * power);
#endif
}

EMULSION_INLINE Vec<double> exp(Vec<double> x) {
  Vec<double> result;
  for (int i = 0; i < Vec<double>::size; ++i) result.lanes[i] = std::exp(x.lanes[i]);
  return result;
}
EMULSION_INLINE Vec<double> exp2(Vec<double> x) {
  Vec<double> result;
  for (int i = 0; i < Vec<double>::size; ++i) result.lanes[i] = std::exp2(x.lanes[i]);
  return result;
}

#if defined(__AVX512F__)
// A mask register for the first `count` of `size` lanes.
EMULSION_INLINE uint16_t first_lanes(int64_t count, int size) {
  return static_cast<uint16_t>(count <= 0 ? 0 : (1u << (count < size ? count : size)) - 1);
}
#endif

template <class T>
template <class Stored>
EMULSION_INLINE Vec<T> Vec<T>::load(const Stored* from) {
  if constexpr (__is_same(Stored, T)) {
    Vec result;
    std::memcpy(&result.lanes, from, sizeof(Native));
    return result;
  } else if constexpr (__is_same(Stored, bfloat16) && __is_same(T, float)) {
    typedef uint16_t Half __attribute__((vector_size(vector_bytes / 2)));
    typedef uint32_t Wide __attribute__((vector_size(vector_bytes)));
    Half half;
    std::memcpy(&half, from, sizeof(half));
    return Vec((Native)(__builtin_convertvector(half, Wide) << 16));
  } else {
#if defined(__AVX512F__)
    if constexpr (__is_same(Stored, float16) && __is_same(T, float))
      return Vec((Native)_mm512_maskz_cvtph_ps(
          all_lanes, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif defined(__AVX2__)
    if constexpr (__is_same(Stored, float16) && __is_same(T, float))
      return Vec((Native)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#endif
    Vec result;
    for (int i = 0; i < size; ++i) result.lanes[i] = convert<T>(from[i]);
    return result;
  }
}

// The first `count` of `size` elements, by halves: a call of memcpy takes longer than all of them.
template <int size, class Stored>
EMULSION_INLINE void copy_first(int64_t count, const Stored* from, Stored* to) {
  if (count >= size) {
    std::memcpy(to, from, size * sizeof(Stored));
    return;
  }
#pragma GCC unroll 8
  for (int part = size / 2; part > 0; part /= 2)
    if (count > 0 && count & part) {
      std::memcpy(to, from, static_cast<size_t>(part) * sizeof(Stored));
      from += part;
      to += part;
    }
}

template <class T>
template <class Stored>
EMULSION_INLINE Vec<T> Vec<T>::load_partial(const Stored* from, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (__is_same(Stored, float) && __is_same(T, float))
    return Vec((Native)_mm512_maskz_loadu_ps(first_lanes(count, size), from));
  if constexpr (__is_same(Stored, double) && __is_same(T, double))
    return Vec((Native)_mm512_maskz_loadu_pd(first_lanes(count, size), from));
#elif defined(__AVX2__)
  if constexpr (__is_same(Stored, float) && __is_same(T, float)) {
    const int most = static_cast<int>(count < size ? count : size);
    const Mask lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return Vec((Native)_mm256_maskload_ps(from, (__m256i)(lane < most)));
  }
#endif
  Stored padded[size] = {};
  copy_first<size>(count, from, padded);
  return load(padded);
}

template <class T>
template <class Stored>
EMULSION_INLINE void Vec<T>::store(Stored* to) const {
  if constexpr (__is_same(Stored, T)) {
    std::memcpy(to, &lanes, sizeof(Native));
  } else if constexpr (__is_same(Stored, bfloat16) && __is_same(T, float)) {
    // to_bfloat16 on a whole vector.
    typedef uint16_t Half __attribute__((vector_size(vector_bytes / 2)));
    typedef uint32_t Wide __attribute__((vector_size(vector_bytes)));
    const Wide bits = (Wide)lanes;
    const Wide rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Half half =
        __builtin_convertvector((lanes == lanes) ? rounded : ((bits >> 16) | 0x40u), Half);
    std::memcpy(to, &half, sizeof(half));
  } else {
    for (int i = 0; i < size; ++i) to[i] = convert<Stored>(lanes[i]);
  }
}

template <class T>
EMULSION_INLINE void Vec<T>::store_past(T* to) const {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)lanes);
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)lanes);
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)lanes);
#else
  store(to);
#endif
}

template <class T>
template <class Stored>
EMULSION_INLINE void Vec<T>::store_partial(Stored* to, int64_t count) const {
#if defined(__AVX512F__)
  if constexpr (__is_same(Stored, float) && __is_same(T, float))
    return _mm512_mask_storeu_ps(to, first_lanes(count, size), (__m512)lanes);
  if constexpr (__is_same(Stored, double) && __is_same(T, double))
    return _mm512_mask_storeu_pd(to, first_lanes(count, size), (__m512d)lanes);
#endif
  Stored padded[size];
  store(padded);
  copy_first<size>(count, padded, to);
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
