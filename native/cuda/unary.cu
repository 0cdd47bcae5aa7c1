// Elementwise ops of one operand: the loop, once, and a row per functor of ops/elementwise.h.
//
// Reads x (and dy), writes y: bandwidth is the roof. 16-byte accesses where the pointers allow.
#include "cuda/device.cuh"
#include "cuda/host.h"
#include "ops/elementwise.h"

namespace emulsion::cuda {
namespace {

using namespace elementwise;

template <class Functor, class T, int width>
__global__ void unary_forward(const T* x, T* y, int64_t count, Accumulator<T> p, Accumulator<T> q) {
  using V = Lane<Accumulator<T>>;
  for (int64_t i = grid_thread() * width; i < count; i += grid_threads() * width) {
    if (width == 1 || i + width <= count) {
      Pack<T, width> pack = load_pack<T, width>(x + i);
#pragma unroll
      for (T& value : pack.values) value = narrow<T>(Functor::value(V(widen(value)), p, q).v);
      store_pack(y + i, pack);
    } else {
      for (int64_t j = i; j < count; ++j) y[j] = narrow<T>(Functor::value(V(widen(x[j])), p, q).v);
    }
  }
}

template <class Functor, class T, int width>
__global__ void unary_backward(const T* x, const T* dy, T* dx, int64_t count, Accumulator<T> p,
                               Accumulator<T> q) {
  using V = Lane<Accumulator<T>>;
  const auto slope = [&](T at, T upstream) {
    return narrow<T>(widen(upstream) * Functor::slope(V(widen(at)), p, q).v);
  };
  for (int64_t i = grid_thread() * width; i < count; i += grid_threads() * width) {
    if (width == 1 || i + width <= count) {
      const Pack<T, width> at = load_pack<T, width>(x + i);
      Pack<T, width> pack = load_pack<T, width>(dy + i);
#pragma unroll
      for (int k = 0; k < width; ++k) pack.values[k] = slope(at.values[k], pack.values[k]);
      store_pack(dx + i, pack);
    } else {
      for (int64_t j = i; j < count; ++j) dx[j] = slope(x[j], dy[j]);
    }
  }
}

template <class Functor, class T>
void forward(const char* op, const View& x, double p, double q, View& y) {
  using A = Accumulator<T>;
  constexpr int width = 16 / sizeof(T);
  const int64_t count = x.numel();
  const A first = convert<A>(p), second = convert<A>(q);
  if (vectors(x.data, y.data))
    launch(op, unary_forward<Functor, T, width>, stream_grid(ceil_div(count, width)), x.as<T>(),
           y.as<T>(), count, first, second);
  else
    launch(op, unary_forward<Functor, T, 1>, stream_grid(count), x.as<T>(), y.as<T>(), count, first,
           second);
}

template <class Functor>
void run_backward(const char* op, const View& x, const View& dy, double p, double q, View& dx) {
  check_unary(op, x, dy);
  check_unary(op, x, dx);
  dispatch_float(x.dtype, op, [&]<class T>() {
    constexpr int width = 16 / sizeof(T);
    const int64_t count = x.numel();
    const auto first = static_cast<float>(p), second = static_cast<float>(q);
    if (vectors(x.data, dy.data, dx.data))
      launch(op, unary_backward<Functor, T, width>, stream_grid(ceil_div(count, width)), x.as<T>(),
             dy.as<T>(), dx.as<T>(), count, first, second);
    else
      launch(op, unary_backward<Functor, T, 1>, stream_grid(count), x.as<T>(), dy.as<T>(),
             dx.as<T>(), count, first, second);
  });
}

}  // namespace

#define EMULSION_DEFINE_BACKWARD(name, functor)                                       \
  void name##_backward(const View& x, const View& dy, double p, double q, View& dx) { \
    run_backward<functor>(#name, x, dy, p, q, dx);                                    \
  }
#define EMULSION_DEFINE_FLOATING(name, functor)                                                 \
  void name##_forward(const View& x, double p, double q, View& y) {                             \
    check_unary(#name, x, y);                                                                   \
    dispatch_float(x.dtype, #name, [&]<class T>() { forward<functor, T>(#name, x, p, q, y); }); \
  }                                                                                             \
  EMULSION_DEFINE_BACKWARD(name, functor)
#define EMULSION_DEFINE_NUMERIC(name, functor)                                                    \
  void name##_forward(const View& x, double p, double q, View& y) {                               \
    check_unary(#name, x, y);                                                                     \
    dispatch_numeric(x.dtype, #name, [&]<class T>() { forward<functor, T>(#name, x, p, q, y); }); \
  }                                                                                               \
  EMULSION_DEFINE_BACKWARD(name, functor)

EMULSION_UNARY_FLOATING(EMULSION_DEFINE_FLOATING)
EMULSION_UNARY_NUMERIC(EMULSION_DEFINE_NUMERIC)

}  // namespace emulsion::cuda
