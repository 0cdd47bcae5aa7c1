#include "ops/geglu.h"

#include "cpu/activation.h"
#include "cpu/ahead.h"
#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 8192;

}  // namespace

void geglu_forward(const View& x, const View& residual, View& y) {
  const int64_t rows = checked_geglu_forward(x, residual, y), width = y.dim(-1);
  dispatch_floating(x.dtype, "geglu", [&]<class T>() {
    using V = Number<T>;
    const bool past = runs_go_past(y, width);
    const T* const add = residual ? residual.as<T>() : nullptr;
    parallel_for(rows, grain_elements / (width + 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T *value = x.as<T>() + row * 2 * width, *gate = value + width;
        T* to = y.as<T>() + row * width;
        for_vectors<V>(0, width, past, [&](int64_t i, auto extent) EMULSION_STEP {
          for (const T* from : {value, gate}) prefetch_pages_ahead(from + i);
          if (!past) prefetch_pages_ahead<for_writing>(to + i);
          V result = load<V>(value + i, extent) * gelu(load<V>(gate + i, extent));
          if (add) result += load<V>(add + row * width + i, extent);
          store(result, to + i, extent);
        });
      }
    });
  });
}

void geglu_backward(const View& x, const View& dy, View& dx) {
  const int64_t rows = checked_geglu_backward(x, dy, dx), width = dy.dim(-1);
  dispatch_floating(x.dtype, "geglu", [&]<class T>() {
    using V = Number<T>;
    const bool past = runs_go_past(dx, width);
    parallel_for(rows, grain_elements / (width + 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T *value = x.as<T>() + row * 2 * width, *gate = value + width,
                *upstream = dy.as<T>() + row * width;
        T *dvalue = dx.as<T>() + row * 2 * width, *dgate = dvalue + width;
        for_vectors<V>(0, width, past, [&](int64_t i, auto extent) EMULSION_STEP {
          for (const T* from : {value, gate, upstream}) prefetch_pages_ahead(from + i);
          if (!past)
            for (T* result : {dvalue, dgate}) prefetch_pages_ahead<for_writing>(result + i);
          const V g = load<V>(gate + i, extent), up = load<V>(upstream + i, extent);
          store(up * gelu(g), dvalue + i, extent);
          store(up * load<V>(value + i, extent) * gelu_derivative(g), dgate + i, extent);
        });
      }
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
