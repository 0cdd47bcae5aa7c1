// Element types. bfloat16 and float16 are storage types: arithmetic happens in float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/errors.h"

// Core helpers are inlined into kernels compiled for several instruction sets; forcing it keeps the
// linker from picking an AVX-512 copy of a shared function for a machine without AVX-512.
#if defined(__CUDACC__)
#define EMULSION_INLINE inline __host__ __device__ __attribute__((always_inline))
#else
#define EMULSION_INLINE inline __attribute__((always_inline))
#endif

namespace emulsion {

// The numbers are part of the binding's contract with lib/dtype.ts.
enum class DType : uint8_t {
  float32 = 0,
  bfloat16 = 1,
  float16 = 2,
  float64 = 3,
  int32 = 4,
  int64 = 5,
  uint8 = 6,
  boolean = 7,
};
inline constexpr int dtype_count = 8;

EMULSION_INLINE int64_t dtype_size(DType dtype) {
  constexpr int64_t sizes[dtype_count] = {4, 2, 2, 8, 4, 8, 1, 1};
  return sizes[static_cast<int>(dtype)];
}

inline const char* dtype_name(DType dtype) {
  constexpr const char* names[dtype_count] = {"float32", "bfloat16", "float16", "float64",
                                              "int32",   "int64",    "uint8",   "bool"};
  const int code = static_cast<int>(dtype);
  return code < dtype_count ? names[code] : "?";
}

EMULSION_INLINE bool is_floating(DType dtype) { return static_cast<int>(dtype) <= 3; }

struct bfloat16 {
  uint16_t bits;
};

struct float16 {
  uint16_t bits;
};

EMULSION_INLINE float to_float(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

// Round to nearest even; NaN stays a (quiet) NaN.
EMULSION_INLINE bfloat16 to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

EMULSION_INLINE float to_float(float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  // Scaling by 2^112 moves the half exponent bias to the float one and normalises subnormals for
  // free.
  float scaled;
  std::memcpy(&scaled, &rest, 4);
  scaled *= 5.192296858534828e33f;
  uint32_t bits;
  std::memcpy(&bits, &scaled, 4);
  if ((value.bits & 0x7c00u) == 0x7c00u) bits = 0x7f800000u | (rest & 0x007fffffu);
  bits |= sign;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

EMULSION_INLINE float16 to_float16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (bits >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to infinity
  if (bits < 0x38800000u) {  // subnormal half: let the float adder round at 2^-24
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    magnitude += 0.5f;
    std::memcpy(&bits, &magnitude, 4);
    return {static_cast<uint16_t>(sign | (bits - 0x3f000000u))};
  }
  bits +=
      0xc8000fffu + ((bits >> 13) & 1u);  // rebias the exponent by -112 and round to nearest even
  return {static_cast<uint16_t>(sign | (bits >> 13))};
}

EMULSION_INLINE float to_float(float value) { return value; }
EMULSION_INLINE double to_float(double value) { return value; }

template <class To, class From>
EMULSION_INLINE To convert(From value) {
  if constexpr (__is_same(To, From)) {
    return value;
  } else if constexpr (__is_same(From, bfloat16) || __is_same(From, float16)) {
    return convert<To>(to_float(value));
  } else if constexpr (__is_same(To, bfloat16)) {
    return to_bfloat16(static_cast<float>(value));
  } else if constexpr (__is_same(To, float16)) {
    return to_float16(static_cast<float>(value));
  } else if constexpr (__is_same(To, bool)) {
    return value != From(0);
  } else {
    return static_cast<To>(value);
  }
}

// The type arithmetic happens in for a stored type.
template <class T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<bfloat16> {
  using type = float;
};
template <>
struct AccumulatorOf<float16> {
  using type = float;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

// Calls body.template operator()<T>() with the C++ type of a floating dtype.
template <class Body>
inline __attribute__((always_inline)) void dispatch_floating(DType dtype, const char* op,
                                                             Body&& body) {
  switch (dtype) {
    case DType::float32: return body.template operator()<float>();
    case DType::bfloat16: return body.template operator()<bfloat16>();
    case DType::float16: return body.template operator()<float16>();
    case DType::float64: return body.template operator()<double>();
    default:
      fail(ErrorCode::invalid_argument, op, ": expected a floating dtype, got ", dtype_name(dtype));
  }
}

// Every dtype, for ops that move values and do not compute with them or treat integers alike.
template <class Body>
inline __attribute__((always_inline)) void dispatch_all(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32: return body.template operator()<float>();
    case DType::bfloat16: return body.template operator()<bfloat16>();
    case DType::float16: return body.template operator()<float16>();
    case DType::float64: return body.template operator()<double>();
    case DType::int32: return body.template operator()<int32_t>();
    case DType::int64: return body.template operator()<int64_t>();
    case DType::uint8: return body.template operator()<uint8_t>();
    case DType::boolean: return body.template operator()<bool>();
  }
}

}  // namespace emulsion
