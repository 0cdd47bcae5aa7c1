// Fill, copy, and conversion between every pair of dtypes, by the rules of ops/cast.h.
//
// A thread converts `width` neighbours: as many as 16 bytes of the wider type hold, so that the
// narrower side moves in pieces of at least two bytes. Bandwidth is the roof.
#include "ops/cast.h"

#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {
namespace {

template <class T>
__global__ void fill_kernel(T* y, int64_t count, T value) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = value;
}

template <class T>
__global__ void copy_kernel(const T* x, T* y, int64_t count) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = x[i];
}

template <class From, class To, int width>
__global__ void cast_kernel(const From* x, To* y, int64_t count) {
  for (int64_t i = grid_thread() * width; i < count; i += grid_threads() * width) {
    if (width == 1 || i + width <= count) {
      const Pack<From, width> from = load_pack<From, width>(x + i);
      Pack<To, width> to;
#pragma unroll
      for (int k = 0; k < width; ++k) to.values[k] = cast_value<To>(from.values[k]);
      store_pack(y + i, to);
    } else {
      for (int64_t j = i; j < count; ++j) y[j] = cast_value<To>(x[j]);
    }
  }
}

template <class T>
void copy_as(const View& x, View& y) {
  const int64_t count = x.bytes() / static_cast<int64_t>(sizeof(T));
  launch("copy", copy_kernel<T>, stream_grid(count), x.as<T>(), y.as<T>(), count);
}

}  // namespace

void fill(double value, View& y) {
  EMULSION_CHECK(y, "fill: y is missing");
  dispatch_all(y.dtype, [&]<class T>() {
    launch("fill", fill_kernel<T>, stream_grid(y.numel()), y.as<T>(), y.numel(),
           cast_value<T>(value));
  });
}

void copy(const View& x, View& y) {
  check_copy(x, y);
  if (x.bytes() % 16 == 0 && vectors(x.data, y.data)) return copy_as<uint4>(x, y);
  dispatch_width(x.dtype, [&]<class T>() { copy_as<T>(x, y); });
}

void cast(const View& x, View& y) {
  check_cast(x, y);
  if (x.dtype == y.dtype) return copy(x, y);
  dispatch_all(x.dtype, [&]<class From>() {
    dispatch_all(y.dtype, [&]<class To>() {
      constexpr int width = 16 / static_cast<int>(std::max(sizeof(From), sizeof(To)));
      const int64_t count = x.numel();
      if (vectors(x.data, y.data))
        launch("cast", cast_kernel<From, To, width>, stream_grid(ceil_div(count, width)),
               x.as<From>(), y.as<To>(), count);
      else
        launch("cast", cast_kernel<From, To, 1>, stream_grid(count), x.as<From>(), y.as<To>(),
               count);
    });
  });
}

}  // namespace emulsion::cuda
