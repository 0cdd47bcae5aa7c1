// Cross-entropy on the CPU: one read of the logits from memory forward, one read and one write
// backward; the probabilities never exist in the forward pass. Rows are spread over the threads,
// their losses summed in order.
#include "ops/cross_entropy.h"

#include "cpu/norm.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

EMULSION_INLINE int64_t class_of(const View& target, int64_t row) {
  return target.dtype == DType::int64 ? target.as<int64_t>()[row] : target.as<int32_t>()[row];
}

// Rows that are not ignored. The first bad index fails here, before any memory is indexed with it.
int64_t count_valid(const View& target, const LossExtents& e, int64_t ignore_index) {
  int64_t valid = 0;
  for (int64_t row = 0; row < e.rows; ++row) {
    const int64_t index = class_of(target, row);
    if (index == ignore_index) continue;
    if (index < 0 || index >= e.classes)
      fail(ErrorCode::index_out_of_range, "crossEntropy: target must be in [0, ", e.classes,
           ") or ignoreIndex (", ignore_index, "). Got ", index, " at position ", row, ".");
    ++valid;
  }
  return valid;
}

template <class A>
struct RowSums {
  A max;
  double exponentials, deviations;  // Σ exp(x - max), Σ (x - max)
};

template <class T, class A = Accumulator<T>>
RowSums<A> row_sums(const T* x, int64_t classes) {
  using V = Vec<A>;
  const V lowest(static_cast<A>(-__builtin_inf())), zero = V::zero();
  V running = lowest;
  for_columns<A>(classes, [&](int64_t c, auto column) {
    running = max(running, column.only(column.load(x + c), lowest));
  });
  const A top = max_lane(running);
  V exponentials = zero, deviations = zero;
  for_columns<A>(classes, [&](int64_t c, auto column) {
    const V deviation = column.load(x + c) - V(top);
    exponentials += column.only(exp(deviation), zero);
    deviations += column.only(deviation, zero);
  });
  return {top, static_cast<double>(sum(exponentials)), static_cast<double>(sum(deviations))};
}

// A row is worth about its number of classes.
EMULSION_INLINE int64_t row_grain(int64_t classes) { return 16384 / classes + 1; }

}  // namespace

void cross_entropy_forward(const View& logits, const View& target, int64_t ignore_index,
                           double label_smoothing, int64_t reduction, View& loss, View& max,
                           View& sum) {
  const LossExtents e =
      checked_cross_entropy("cross_entropy_forward", logits, target, loss, max, sum, reduction);
  const int64_t valid = count_valid(target, e, ignore_index);
  double* losses = scratch<double>(0, e.rows + 1);
  const double smoothing = label_smoothing / static_cast<double>(e.classes);
  dispatch_floating(logits.dtype, "cross_entropy_forward", [&]<class T>() {
    using A = Accumulator<T>;
    parallel_for(e.rows, row_grain(e.classes), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t index = class_of(target, row);
        losses[row] = 0;
        if (index == ignore_index) continue;
        const T* x = logits.as<T>() + row * e.classes;
        const RowSums<A> sums = row_sums(x, e.classes);
        max.as<A>()[row] = sums.max;
        sum.as<A>()[row] = static_cast<A>(sums.exponentials);
        const double correct =
            static_cast<double>(convert<A>(x[index])) - static_cast<double>(sums.max);
        losses[row] = std::log(sums.exponentials) - (1 - label_smoothing) * correct;
        // Without smoothing a class masked by -∞ must not meet a factor of zero.
        if (label_smoothing != 0) losses[row] -= smoothing * sums.deviations;
      }
    });
    if (reduction == LossReduction::none) {
      write_values(losses, 0, e.rows, loss);
      return;
    }
    double sum_of_rows = 0;
    for (int64_t row = 0; row < e.rows; ++row) sum_of_rows += losses[row];
    if (reduction == LossReduction::mean) sum_of_rows /= static_cast<double>(valid);
    write_values(&sum_of_rows, 0, 1, loss);
  });
}

void cross_entropy_backward(const View& dloss, const View& logits, const View& target,
                            const View& max, const View& sum, int64_t ignore_index,
                            double label_smoothing, int64_t reduction, View& dlogits) {
  const LossExtents e =
      checked_cross_entropy_backward(dloss, logits, target, max, sum, reduction, dlogits);
  const int64_t valid = count_valid(target, e, ignore_index);
  dispatch_floating(logits.dtype, "cross_entropy_backward", [&]<class T>() {
    using A = Accumulator<T>;
    using V = Vec<A>;
    const A divisor = reduction == LossReduction::mean ? static_cast<A>(valid) : A(1);
    const A smoothing = static_cast<A>(label_smoothing / static_cast<double>(e.classes));
    parallel_for(e.rows, row_grain(e.classes), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* x = logits.as<T>() + row * e.classes;
        T* dx = dlogits.as<T>() + row * e.classes;
        const int64_t index = class_of(target, row);
        if (index == ignore_index) {
          for_columns<A>(e.classes,
                         [&](int64_t c, auto column) { column.store(V::zero(), dx + c); });
          continue;
        }
        const A g = convert<A>(dloss.as<T>()[reduction == LossReduction::none ? row : 0]) / divisor;
        const A top = max.as<A>()[row], inverse = A(1) / sum.as<A>()[row];
        for_columns<A>(e.classes, [&](int64_t c, auto column) {
          const V probability = exp(column.load(x + c) - V(top)) * V(inverse);
          column.store((probability - V(smoothing)) * V(g), dx + c);
        });
        const A probability = std::exp(convert<A>(x[index]) - top) * inverse;
        dx[index] = convert<T>(g * (probability - smoothing - static_cast<A>(1 - label_smoothing)));
      }
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
