// GEGLU by itself: y = value · gelu(gate) over rows of value [C] beside gate [C].
//
// Forward moves three elements per output (a residual is the fourth), backward five: bandwidth is
// the roof, the erfc of the exact GELU close below it. 16-byte accesses where C and the pointers
// allow.
#include "ops/geglu.h"

#include "cuda/activation.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {
namespace {

// A launch counts packs in 31 bits: longer tensors take several, by rows.
constexpr int64_t most_packs = int64_t{1} << 30;

template <class T, int width>
__global__ void __launch_bounds__(stream_threads)
    forward_kernel(const T* x, const T* residual, T* y, int packs, Divisor per_row) {
  const int64_t row_size = static_cast<int64_t>(per_row.divisor) * width;
  for (int64_t i = grid_thread(); i < packs; i += grid_threads()) {
    uint32_t pack;
    const uint32_t row = per_row(static_cast<uint32_t>(i), pack);
    const T* const from = x + 2 * row * row_size + pack * width;
    const auto value = load_pack<T, width>(from), gate = load_pack<T, width>(from + row_size);
    Pack<T, width> add{}, result;
    if (residual) add = load_pack<T, width>(residual + i * width);
#pragma unroll
    for (int e = 0; e < width; ++e)
      result.values[e] = narrow<T>(widen(value.values[e]) * gelu(widen(gate.values[e])) +
                                   (residual ? widen(add.values[e]) : 0.0f));
    store_pack(y + i * width, result);
  }
}

template <class T, int width>
__global__ void __launch_bounds__(stream_threads)
    backward_kernel(const T* x, const T* dy, T* dx, int packs, Divisor per_row) {
  const int64_t row_size = static_cast<int64_t>(per_row.divisor) * width;
  for (int64_t i = grid_thread(); i < packs; i += grid_threads()) {
    uint32_t pack;
    const uint32_t row = per_row(static_cast<uint32_t>(i), pack);
    const int64_t at = 2 * row * row_size + pack * width;
    const auto value = load_pack<T, width>(x + at), gate = load_pack<T, width>(x + at + row_size),
               up = load_pack<T, width>(dy + i * width);
    Pack<T, width> dvalue, dgate;
#pragma unroll
    for (int e = 0; e < width; ++e) {
      const float g = widen(gate.values[e]), d = widen(up.values[e]);
      dvalue.values[e] = narrow<T>(d * gelu(g));
      dgate.values[e] = narrow<T>(d * widen(value.values[e]) * gelu_slope(g));
    }
    store_pack(dx + at, dvalue);
    store_pack(dx + at + row_size, dgate);
  }
}

// body.template operator()<width>(first row, packs, packs per row) for slabs of rows.
template <class T, class Body>
void for_slabs(int64_t rows, int64_t C, bool aligned, Body&& body) {
  const auto with = [&]<int width>() {
    const int64_t per_row = C / width, most = std::max<int64_t>(1, most_packs / per_row);
    EMULSION_CHECK(per_row <= most_packs, "geglu: an axis of ", 2 * C, " elements is too long");
    for (int64_t row = 0; row < rows; row += most)
      body.template operator()<width>(row, static_cast<int>(std::min(most, rows - row) * per_row),
                                      Divisor(per_row));
  };
  constexpr int width = 16 / sizeof(T);
  if (aligned && C % width == 0)
    with.template operator()<width>();
  else
    with.template operator()<1>();
}

}  // namespace

void geglu_forward(const View& x, const View& residual, View& y) {
  const int64_t rows = checked_geglu_forward(x, residual, y), C = y.dim(-1);
  if (y.numel() == 0) return;
  dispatch_float(x.dtype, "geglu", [&]<class T>() {
    const T* const add = residual ? residual.as<T>() : nullptr;
    for_slabs<T>(rows, C, vectors(x.data, add, y.data),
                 [&]<int width>(int64_t row, int packs, Divisor per_row) {
                   launch("geglu_forward", forward_kernel<T, width>, stream_grid(packs),
                          static_cast<const T*>(x.as<T>() + row * 2 * C),
                          add ? add + row * C : nullptr, y.as<T>() + row * C, packs, per_row);
                 });
  });
}

void geglu_backward(const View& x, const View& dy, View& dx) {
  const int64_t rows = checked_geglu_backward(x, dy, dx), C = dy.dim(-1);
  if (dy.numel() == 0) return;
  dispatch_float(x.dtype, "geglu", [&]<class T>() {
    for_slabs<T>(rows, C, vectors(x.data, dy.data, dx.data),
                 [&]<int width>(int64_t row, int packs, Divisor per_row) {
                   launch("geglu_backward", backward_kernel<T, width>, stream_grid(packs),
                          static_cast<const T*>(x.as<T>() + row * 2 * C),
                          static_cast<const T*>(dy.as<T>() + row * C), dx.as<T>() + row * 2 * C,
                          packs, per_row);
                 });
  });
}

}  // namespace emulsion::cuda
