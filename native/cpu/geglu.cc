#include "ops/geglu.h"

#include "cpu/activation.h"
#include "cpu/gemm_pack.h"
#include "cpu/parallel.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 8192;

int64_t check_halves(const View& x, const View& y) {
  EMULSION_CHECK(x && y && x.dtype == y.dtype && x.rank() > 0 && x.rank() == y.rank(),
                 "geglu: ", x.shape, " and ", y.shape, " must have one dtype and rank");
  for (int i = 0; i + 1 < x.rank(); ++i)
    EMULSION_CHECK(x.dim(i) == y.dim(i), "geglu: ", x.shape, " and ", y.shape,
                   " differ before the last axis");
  EMULSION_CHECK(x.dim(-1) == 2 * y.dim(-1), "geglu: the last axis of ", y.shape,
                 " must be half of that of ", x.shape);
  return x.shape.product(0, x.rank() - 1);
}

}  // namespace

void geglu_forward(const View& x, const View& residual, View& y) {
  const int64_t rows = check_halves(x, y), K = y.dim(-1);
  EMULSION_CHECK(!residual || (residual.shape == y.shape && residual.dtype == y.dtype),
                 "geglu: residual ", residual.shape, " must be like y ", y.shape);
  dispatch_floating(x.dtype, "geglu", [&]<class Stored>() {
    using T = Accumulator<Stored>;
    const Stored* const add = residual ? residual.as<Stored>() : nullptr;
    parallel_for(rows, 1 + grain_elements / (K + 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const Stored *a = x.as<Stored>() + row * 2 * K, *gate = a + K;
        for (int64_t k = 0; k < K; k += Vec<T>::size) {
          Vec<T> value = load_up_to<T>(a + k, K - k) * gelu(load_up_to<T>(gate + k, K - k));
          if (add) value += load_up_to<T>(add + row * K + k, K - k);
          store_up_to(value, y.as<Stored>() + row * K + k, K - k);
        }
      }
    });
  });
}

void geglu_backward(const View& x, const View& dy, View& dx) {
  const int64_t rows = check_halves(x, dy), K = dy.dim(-1);
  check_halves(dx, dy);
  EMULSION_CHECK(dx.shape == x.shape, "geglu: dx ", dx.shape, " must have x's shape ", x.shape);
  dispatch_floating(x.dtype, "geglu", [&]<class Stored>() {
    using T = Accumulator<Stored>;
    parallel_for(rows, 1 + grain_elements / (K + 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const Stored *a = x.as<Stored>() + row * 2 * K, *gate = a + K,
                     *upstream = dy.as<Stored>() + row * K;
        Stored *da = dx.as<Stored>() + row * 2 * K, *dgate = da + K;
        for (int64_t k = 0; k < K; k += Vec<T>::size) {
          const Vec<T> d = load_up_to<T>(upstream + k, K - k), g = load_up_to<T>(gate + k, K - k);
          store_up_to(d * gelu(g), da + k, K - k);
          store_up_to(d * load_up_to<T>(a + k, K - k) * gelu_derivative(g), dgate + k, K - k);
        }
      }
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
