// The loop every elementwise kernel is made of: whole vectors, then one partial vector through the
// same code, so that an element's bits do not depend on where a thread's range begins or ends.
#pragma once

#include <type_traits>

#include "cpu/parallel.h"
#include "cpu/past.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Elements of a cheap op per thread: some ten microseconds of memory traffic.
inline constexpr int64_t stream_grain = 32768;

// One integer lane with the interface of Vec, so that a loop written for vectors serves integers
// too and the compiler vectorises it. Arithmetic wraps.
template <class T>
struct Int {
  static constexpr int size = 1;
  using Mask = bool;
  using Unsigned = std::make_unsigned_t<T>;

  T lane;

  Int() = default;
  EMULSION_INLINE explicit Int(T value) : lane(value) {}

  template <class Stored>
  EMULSION_INLINE static Int load(const Stored* from) {
    return Int(static_cast<T>(*from));
  }
  template <class Stored>
  EMULSION_INLINE static Int load_partial(const Stored* from, int64_t) {
    return load(from);
  }
  template <class Stored>
  EMULSION_INLINE void store(Stored* to) const {
    *to = static_cast<Stored>(lane);
  }
  template <class Stored>
  EMULSION_INLINE void store_partial(Stored* to, int64_t) const {
    store(to);
  }

  EMULSION_INLINE T operator[](int) const { return lane; }

  EMULSION_INLINE Int operator+(Int other) const {
    return wrap(Unsigned(lane) + Unsigned(other.lane));
  }
  EMULSION_INLINE Int operator-(Int other) const {
    return wrap(Unsigned(lane) - Unsigned(other.lane));
  }
  EMULSION_INLINE Int operator*(Int other) const {
    return wrap(Unsigned(lane) * Unsigned(other.lane));
  }
  EMULSION_INLINE Int operator-() const { return wrap(Unsigned(0) - Unsigned(lane)); }

  EMULSION_INLINE Mask operator<(Int other) const { return lane < other.lane; }
  EMULSION_INLINE Mask operator>(Int other) const { return lane > other.lane; }
  EMULSION_INLINE Mask operator<=(Int other) const { return lane <= other.lane; }
  EMULSION_INLINE Mask operator>=(Int other) const { return lane >= other.lane; }
  EMULSION_INLINE Mask operator==(Int other) const { return lane == other.lane; }

 private:
  template <class Wide>
  EMULSION_INLINE static Int wrap(Wide value) {
    return Int(static_cast<T>(static_cast<Unsigned>(value)));
  }
};

template <class T>
EMULSION_INLINE Int<T> select(bool mask, Int<T> yes, Int<T> no) {
  return mask ? yes : no;
}

// Plain numbers too: a formula on vectors then also joins their lanes.
template <class T>
  requires(std::is_arithmetic_v<T>)
EMULSION_INLINE T select(bool mask, T yes, T no) {
  return mask ? yes : no;
}

// The vector that computes for a stored type.
template <class T>
struct NumberOf {
  using type = Int<T>;
};
template <>
struct NumberOf<bool> {
  using type = Int<uint8_t>;
};
template <>
struct NumberOf<float> {
  using type = Vec<float>;
};
template <>
struct NumberOf<bfloat16> {
  using type = Vec<float>;
};
template <>
struct NumberOf<float16> {
  using type = Vec<float>;
};
template <>
struct NumberOf<double> {
  using type = Vec<double>;
};
template <class T>
using Number = typename NumberOf<T>::type;

// How much of a vector a step of a loop touches, and whether its result goes past the caches.
struct Whole {
  bool past = false;
};
struct Part {
  int64_t count;
};

template <class V, class T>
EMULSION_INLINE V load(const T* from, Whole) {
  return V::load(from);
}
template <class V, class T>
EMULSION_INLINE V load(const T* from, Part part) {
  return V::load_partial(from, part.count);
}
template <class V, class T>
EMULSION_INLINE void store(V value, T* to, Whole whole) {
  if constexpr (std::is_same_v<V, Vec<T>>)
    if (whole.past) return value.store_past(to);
  value.store(to);
}
template <class V, class T>
EMULSION_INLINE void store(V value, T* to, Part part) {
  value.store_partial(to, part.count);
}

// Calls step(i, Whole{past}) for every whole vector in [begin, end), then step(i, Part{rest}).
template <class V, class Step>
EMULSION_INLINE void for_vectors(int64_t begin, int64_t end, bool past, Step&& step) {
  int64_t i = begin;
  for (; i + V::size <= end; i += V::size) step(i, Whole{past});
  if (i < end) step(i, Part{end - i});
}

// A step has to be part of its loop: called, it would reload every operand's address for each
// vector.
#define EMULSION_STEP __attribute__((always_inline))

}  // namespace emulsion::cpu::EMULSION_LEVEL
