// Elementwise ops of two operands and `where`: one broadcast loop, a row per functor of
// ops/elementwise.h.
#include "ops/binary.h"

#include "cpu/broadcast.h"
#include "cpu/math.h"
#include "ops/elementwise.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

using namespace elementwise;

// A vector of a piece; a single element fills all lanes when its operand repeats.
template <class V, class T, class Extent>
EMULSION_INLINE V fetch(Piece<T> piece, int64_t i, V repeated, Extent extent) {
  return piece.step ? load<V>(piece.from + i, extent) : repeated;
}

template <class V, class T>
EMULSION_INLINE V repeat(Piece<T> piece) {
  return V(convert<std::decay_t<decltype(V()[0])>>(*piece.from));
}

template <class Functor, class T>
void combine(const char* op, const View& a, const View& b, View& y) {
  using V = Number<T>;
  const Broadcast<2> plan(op, y.shape, {&a, &b});
  T* to = y.as<T>();
  // What is added to in place is in the caches already.
  const bool past = exceeds_caches(y.bytes()) && to != a.as<T>();
  const auto piece = [&](int64_t first, int64_t length, Piece<T> from_a, Piece<T> from_b) {
    const V fixed_a = repeat<V>(from_a), fixed_b = repeat<V>(from_b);
    for_vectors<V>(0, length, past && is_aligned(to + first),
                   [&](int64_t i, auto extent) EMULSION_STEP {
                     const V left = fetch(from_a, i, fixed_a, extent),
                             right = fetch(from_b, i, fixed_b, extent);
                     store(Functor::value(left, right), to + first + i, extent);
                   });
  };
  plan.for_pieces(stream_grain, piece, a.as<const T>(), b.as<const T>());
}

template <class Functor>
void run_numeric(const char* op, const View& a, const View& b, View& y) {
  switch (a.dtype) {
    case DType::int32: return combine<Functor, int32_t>(op, a, b, y);
    case DType::int64: return combine<Functor, int64_t>(op, a, b, y);
    case DType::uint8: return combine<Functor, uint8_t>(op, a, b, y);
    default:
      return dispatch_floating(a.dtype, op, [&]<class T>() { combine<Functor, T>(op, a, b, y); });
  }
}

// Element by element: the result is a byte whatever the operands are. Steps that the compiler knows
// let it make vectors of the loop.
template <class T, class Relation>
void relate(const char* op, const View& a, const View& b, View& y, Relation relation) {
  const Broadcast<2> plan(op, y.shape, {&a, &b});
  const auto piece = [&](int64_t first, int64_t length, Piece<T> left, Piece<T> right) {
    bool* to = y.as<bool>() + first;
    if (left.step == 0) {
      for (int64_t i = 0; i < length; ++i) to[i] = relation(*left.from, right.from[i * right.step]);
    } else if (right.step == 0) {
      const T fixed = *right.from;
      for (int64_t i = 0; i < length; ++i) to[i] = relation(left.from[i], fixed);
    } else {
      for (int64_t i = 0; i < length; ++i) to[i] = relation(left.from[i], right.from[i]);
    }
  };
  plan.for_pieces(stream_grain, piece, a.as<const T>(), b.as<const T>());
}

template <class T>
EMULSION_INLINE auto comparable(T value) {
  if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>)
    return to_float(value);
  else
    return value;
}

}  // namespace

void accumulate(View& into, const View& add) {
  check_accumulate(into, add);
  run_numeric<Add>("accumulate", into, add, into);
}

#define EMULSION_DEFINE_FLOATING(name, functor)                                                 \
  void name##_forward(const View& a, const View& b, View& y) {                                  \
    check_binary(#name, a, b, y);                                                               \
    dispatch_floating(a.dtype, #name, [&]<class T>() { combine<functor, T>(#name, a, b, y); }); \
  }
#define EMULSION_DEFINE_NUMERIC(name, functor)                 \
  void name##_forward(const View& a, const View& b, View& y) { \
    check_binary(#name, a, b, y);                              \
    run_numeric<functor>(#name, a, b, y);                      \
  }
#define EMULSION_DEFINE_COMPARE(name, symbol)                                               \
  void name##_forward(const View& a, const View& b, View& y) {                              \
    check_compare(#name, a, b, y);                                                          \
    dispatch_all(a.dtype, [&]<class T>() {                                                  \
      relate<T>(#name, a, b, y,                                                             \
                [](T left, T right) { return comparable(left) symbol comparable(right); }); \
    });                                                                                     \
  }
#define EMULSION_DEFINE_LOGICAL(name, symbol)                                                     \
  void name##_forward(const View& a, const View& b, View& y) {                                    \
    check_logical(#name, a, b, y);                                                                \
    relate<bool>(#name, a, b, y, [](bool left, bool right) { return (left symbol right) != 0; }); \
  }

EMULSION_BINARY_FLOATING(EMULSION_DEFINE_FLOATING)
EMULSION_BINARY_NUMERIC(EMULSION_DEFINE_NUMERIC)
EMULSION_COMPARE(EMULSION_DEFINE_COMPARE)
EMULSION_LOGICAL(EMULSION_DEFINE_LOGICAL)

void where_forward(const View& condition, const View& a, const View& b, View& y) {
  check_where(condition, a, b, y);
  const Broadcast<3> plan("where", y.shape, {&condition, &a, &b});
  dispatch_all(y.dtype, [&]<class T>() {
    const auto piece = [&](int64_t first, int64_t length, Piece<bool> mask, Piece<T> yes,
                           Piece<T> no) {
      T* to = y.as<T>() + first;
      if (mask.step & yes.step & no.step) {
        for (int64_t i = 0; i < length; ++i) to[i] = mask.from[i] ? yes.from[i] : no.from[i];
      } else {
        for (int64_t i = 0; i < length; ++i)
          to[i] = mask.from[i * mask.step] ? yes.from[i * yes.step] : no.from[i * no.step];
      }
    };
    plan.for_pieces(stream_grain, piece, condition.as<const bool>(), a.as<const T>(),
                    b.as<const T>());
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
