// Linear layers: one product with bias, activation and residual in its epilogue.
//
// Few rows of x (a time embedding has one per sample) would pay more for packing the weights than
// for multiplying. There the roles change: the weights are A, read in place, the rows of x are
// packed, and tiles are turned on their way out. Of one to four rows the lanes run along the
// reduction (thin.h).
#include "ops/linear.h"

#include "cpu/activation.h"
#include "cpu/thin.h"
#include "ops/geglu.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t few_rows = 384;

template <class T>
EMULSION_INLINE Vec<T> activate(Vec<T> x, Activation activation) {
  return activation == Activation::silu ? silu(x) : activation == Activation::gelu ? gelu(x) : x;
}
template <class T>
EMULSION_INLINE Vec<T> activate_derivative(Vec<T> x, Activation activation) {
  return activation == Activation::silu ? silu_derivative(x) : gelu_derivative(x);
}

template <class Stored>
void forward(const View& x, const View& weight, const View& bias, const View& residual,
             Activation activation, View& y, View& preactivation) {
  using T = Accumulator<Stored>;
  const int64_t K = weight.dim(0), C = weight.dim(1), rows = x.shape.product(0, x.rank() - 1);
  const Stored* const offset = bias ? bias.as<Stored>() : nullptr;
  const Stored* const add = residual ? residual.as<Stored>() : nullptr;
  Stored* const keep = preactivation ? preactivation.as<Stored>() : nullptr;
  Stored* const to = activation == Activation::geglu ? nullptr : y.as<Stored>();
  const auto finish = [&](const T* tile, int64_t row, int count, int64_t column, int columns) {
    for (int i = 0; i < count; ++i) {
      const int64_t at = (row + i) * K + column;
      for (int j = 0; j < columns; j += Vec<T>::size) {
        const int64_t rest = columns - j;
        Vec<T> value = Vec<T>::load(tile + i * Tile<T>::columns + j);
        if (offset) value += load_up_to<T>(offset + column + j, rest);
        if (keep) store_up_to(value, keep + at + j, rest);
        if (!to) continue;
        value = activate(value, activation);
        if (add) value += load_up_to<T>(add + at + j, rest);
        store_up_to(value, to + at + j, rest);
      }
    }
  };
  // What is added to sums needs no pass of its own.
  const auto place = [&](int64_t row, int64_t column) -> Place<T> {
    if constexpr (__is_same(Stored, T)) {
      const int64_t at = row * K + column;
      const Addend<T> biases{offset ? offset + column : nullptr, 0};
      if (!to) return {keep + at, K, biases};
      if (!keep && activation == Activation::none)
        return {to + at, K, biases, {add ? add + at : nullptr, K}};
    }
    return {};
  };
  const MatrixRows<T, Stored> weights(weight.as<Stored>(), C, false, C);
  if (rows <= thin::most_columns) {
    const T* const panel = thin::pack<T>(
        rows, 1, C, [&](int64_t row, int64_t, int64_t c) { return x.as<Stored>()[row * C + c]; });
    thin::multiply(weights, panel, rows, K,
                   [&](const T* tile, int64_t column, int columns, int64_t row, int count) {
                     T turned[thin::most_columns * Tile<T>::columns];
                     for (int i = 0; i < count; ++i)
                       for (int j = 0; j < columns; ++j)
                         turned[i * Tile<T>::columns + j] = tile[j * Tile<T>::columns + i];
                     finish(turned, row, count, column, columns);
                   });
    return;
  }
  if (rows <= few_rows && 2 * rows <= K && __is_same(Stored, T)) {
    const PanelLayout<T> layout{C, rows};
    const auto pack = [&](int64_t panel, T* packed) {
      pack_panel(x.as<Stored>(), C, true, layout, panel, packed);
    };
    multiply_turned<T>(weights, layout, pack, K, finish);
    return;
  }
  const PanelLayout<T> layout{C, K};
  const auto pack = [&](int64_t panel, T* packed) {
    pack_panel(weight.as<Stored>(), C, true, layout, panel, packed);
  };
  multiply_parallel<T>(MatrixRows<T, Stored>(x.as<Stored>(), C, false, C), layout, pack, rows,
                       Placed{finish, place});
}

constexpr int64_t elementwise_grain = 8192;

template <class Stored>
void derivative(const View& dy, const View& x, Activation activation, View& dx) {
  using T = Accumulator<Stored>;
  constexpr int64_t size = Vec<T>::size;
  const int64_t count = dx.numel();
  parallel_for(
      (count + size - 1) / size, elementwise_grain / size, [&](int64_t begin, int64_t end) {
        for (int64_t at = begin * size; at < end * size; at += size) {
          const Vec<T> d = load_up_to<T>(dy.as<Stored>() + at, count - at);
          const Vec<T> slope =
              activate_derivative(load_up_to<T>(x.as<Stored>() + at, count - at), activation);
          store_up_to(d * slope, dx.as<Stored>() + at, count - at);
        }
      });
}

}  // namespace

void linear_forward(const View& x, const View& weight, const View& bias, const View& residual,
                    int64_t activation, View& y, View& preactivation) {
  const Activation act = checked_linear(x, weight, bias, residual, activation, y, preactivation);
  if (y.numel() == 0) return;
  dispatch_floating(x.dtype, "linear_forward", [&]<class Stored>() {
    forward<Stored>(x, weight, bias, residual, act, y, preactivation);
  });
  if (act == Activation::geglu) geglu_forward(preactivation, residual, y);
}

void activation_backward(const View& dy, const View& x, int64_t activation, View& dx) {
  const Activation act = checked_activation_backward(dy, x, activation, dx);
  if (dx.numel() == 0) return;
  if (act == Activation::geglu) return geglu_backward(x, dy, dx);
  dispatch_floating(dx.dtype, "activation_backward",
                    [&]<class Stored>() { derivative<Stored>(dy, x, act, dx); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
