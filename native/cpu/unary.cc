// Elementwise ops of one operand: the loop, once, and a row per functor of ops/elementwise.h.
#include "cpu/activation.h"
#include "cpu/math.h"
#include "ops/elementwise.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

using namespace elementwise;

template <class T>
struct LaneOf {
  using type = T;
};
template <>
struct LaneOf<bfloat16> {
  using type = float;
};
template <>
struct LaneOf<float16> {
  using type = float;
};

template <class Functor, class T>
void forward(const View& x, double p, double q, View& y) {
  using V = Number<T>;
  using Lane = typename LaneOf<T>::type;
  const T* from = x.as<T>();
  T* to = y.as<T>();
  const Lane first = convert<Lane>(p), second = convert<Lane>(q);
  const bool past = exceeds_caches(y.bytes());
  parallel_for(x.numel(), stream_grain, [&](int64_t begin, int64_t end) {
    for_vectors<V>(
        begin, end, past && is_aligned(to + begin), [&](int64_t i, auto extent) EMULSION_STEP {
          store(Functor::value(load<V>(from + i, extent), first, second), to + i, extent);
        });
  });
}

template <class Functor, class T>
void backward(const View& x, const View& dy, double p, double q, View& dx) {
  using V = Number<T>;
  using Lane = typename LaneOf<T>::type;
  const T* from = x.as<T>();
  const T* upstream = dy.as<T>();
  T* to = dx.as<T>();
  const Lane first = convert<Lane>(p), second = convert<Lane>(q);
  const bool past = exceeds_caches(dx.bytes());
  parallel_for(x.numel(), stream_grain, [&](int64_t begin, int64_t end) {
    for_vectors<V>(begin, end, past && is_aligned(to + begin),
                   [&](int64_t i, auto extent) EMULSION_STEP {
                     const V slope = Functor::slope(load<V>(from + i, extent), first, second);
                     store(load<V>(upstream + i, extent) * slope, to + i, extent);
                   });
  });
}

template <class Functor>
void run_backward(const char* op, const View& x, const View& dy, double p, double q, View& dx) {
  check_unary(op, x, dy);
  check_unary(op, x, dx);
  dispatch_floating(x.dtype, op, [&]<class T>() { backward<Functor, T>(x, dy, p, q, dx); });
}

template <class Functor>
void run_numeric(const char* op, const View& x, double p, double q, View& y) {
  switch (x.dtype) {
    case DType::int32: return forward<Functor, int32_t>(x, p, q, y);
    case DType::int64: return forward<Functor, int64_t>(x, p, q, y);
    case DType::uint8: return forward<Functor, uint8_t>(x, p, q, y);
    default:
      return dispatch_floating(x.dtype, op, [&]<class T>() { forward<Functor, T>(x, p, q, y); });
  }
}

}  // namespace

#define EMULSION_DEFINE_BACKWARD(name, functor)                                       \
  void name##_backward(const View& x, const View& dy, double p, double q, View& dx) { \
    run_backward<functor>(#name, x, dy, p, q, dx);                                    \
  }
#define EMULSION_DEFINE_FLOATING(name, functor)                                             \
  void name##_forward(const View& x, double p, double q, View& y) {                         \
    check_unary(#name, x, y);                                                               \
    dispatch_floating(x.dtype, #name, [&]<class T>() { forward<functor, T>(x, p, q, y); }); \
  }                                                                                         \
  EMULSION_DEFINE_BACKWARD(name, functor)
#define EMULSION_DEFINE_NUMERIC(name, functor)                      \
  void name##_forward(const View& x, double p, double q, View& y) { \
    check_unary(#name, x, y);                                       \
    run_numeric<functor>(#name, x, p, q, y);                        \
  }                                                                 \
  EMULSION_DEFINE_BACKWARD(name, functor)

EMULSION_UNARY_FLOATING(EMULSION_DEFINE_FLOATING)
EMULSION_UNARY_NUMERIC(EMULSION_DEFINE_NUMERIC)

}  // namespace emulsion::cpu::EMULSION_LEVEL
