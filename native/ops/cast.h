// Moving values without computing: fill, copy, and conversion between every pair of dtypes.
//
//   fill   y = value
//   copy   y = x, the same dtype and element count (shapes may differ: both are dense)
//   cast   y = x converted to y's dtype
//
// Conversions: to a floating dtype rounds to nearest even; to an integer truncates towards zero,
// saturates at the dtype's range and turns NaN into 0; to bool is x != 0. The same on every device.
// Bandwidth-bound. x and y must not overlap.
#pragma once

#include <limits>

#include "ops/kernels.h"

namespace emulsion {

template <class T>
constexpr bool is_integer = __is_same(T, int32_t) || __is_same(T, int64_t) || __is_same(T, uint8_t);

// A float beyond an integer's range is undefined behaviour in C++; here it saturates, and NaN is 0.
template <class To, class From>
EMULSION_INLINE To saturate(From value) {
  constexpr To least = std::numeric_limits<To>::min(), most = std::numeric_limits<To>::max();
  constexpr From low = static_cast<From>(least);
  // The largest value may round up to 2^k, which is out of range: compare before converting.
  constexpr From high = static_cast<From>(most);
  if (!(value > low)) return value == value ? least : To(0);
  return value >= high ? most : static_cast<To>(value);
}

template <class To, class From>
EMULSION_INLINE To cast_value(From value) {
  if constexpr (__is_same(From, bfloat16) || __is_same(From, float16)) {
    return cast_value<To>(to_float(value));
  } else if constexpr (is_integer<To> && (__is_same(From, float) || __is_same(From, double))) {
    return saturate<To>(value);
  } else if constexpr (is_integer<To> && is_integer<From>) {
    constexpr To least = std::numeric_limits<To>::min(), most = std::numeric_limits<To>::max();
    if (static_cast<int64_t>(value) > static_cast<int64_t>(most)) return most;
    if (static_cast<int64_t>(value) < static_cast<int64_t>(least)) return least;
    return static_cast<To>(value);
  } else {
    return convert<To>(value);
  }
}

}  // namespace emulsion

EMULSION_KERNELS(                       //
    void fill(double value, View& y);   //
    void copy(const View& x, View& y);  //
    void cast(const View& x, View& y);)

namespace emulsion {

static inline void check_copy(const View& x, const View& y) {
  EMULSION_CHECK(x && y && x.dtype == y.dtype && x.numel() == y.numel(), "copy: x ",
                 dtype_name(x.dtype), ' ', x.shape, " and y ", dtype_name(y.dtype), ' ', y.shape,
                 " must have the same dtype and element count");
}

static inline void check_cast(const View& x, const View& y) {
  EMULSION_CHECK(x && y && x.numel() == y.numel(), "cast: x ", x.shape, " and y ", y.shape,
                 " must have the same element count");
}

}  // namespace emulsion
