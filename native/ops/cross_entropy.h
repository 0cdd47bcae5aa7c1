// Cross-entropy of class logits against class indices, log-softmax included.
//
//   logits [..., C], target [...] int32 or int64, ε = label_smoothing
//   row loss = log Σ exp(x) - (1 - ε)·x[target] - ε / C · Σ x;   0 where target == ignore_index
//   reduction 0: loss [...] holds the rows; 1: their sum; 2: the sum / number of rows not ignored
//   (NaN if none) dlogits = g·(softmax(x) - (1 - ε)·[c == target] - ε / C),  g = dloss (/ count for
//   reduction 2)
//
// max and sum [...] are written by the forward pass in float32 (float64 for float64 logits): the
// maximum of a row and Σ exp(x - max), from which the backward pass has the probabilities at full
// precision; unspecified for ignored rows. loss has the dtype of the logits. A target outside [0,
// C) that is not ignore_index fails.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void cross_entropy_forward(const View& logits, const View& target,
                                            int64_t ignore_index, double label_smoothing,
                                            int64_t reduction, View& loss, View& max, View& sum);
                 void cross_entropy_backward(const View& dloss, const View& logits,
                                             const View& target, const View& max, const View& sum,
                                             int64_t ignore_index, double label_smoothing,
                                             int64_t reduction, View& dlogits);)

namespace emulsion {

struct LossReduction {
  enum : int64_t { none = 0, total = 1, mean = 2 };
};

struct LossExtents {
  int64_t rows, classes;
};

static inline LossExtents checked_cross_entropy(const char* op, const View& logits,
                                                const View& target, const View& loss,
                                                const View& max, const View& sum,
                                                int64_t reduction) {
  EMULSION_CHECK(is_floating(logits.dtype) && logits.rank() >= 1 && logits.dim(-1) > 0, op,
                 ": logits must be floating [..., C]");
  const LossExtents e{logits.shape.product(0, logits.rank() - 1), logits.dim(-1)};
  EMULSION_CHECK(is_index(target.dtype) && target.numel() == e.rows, op,
                 ": target must be int32 or int64, one index per row");
  EMULSION_CHECK(reduction >= LossReduction::none && reduction <= LossReduction::mean, op,
                 ": reduction must be 0, 1 or 2");
  EMULSION_CHECK(
      loss.dtype == logits.dtype && loss.numel() == (reduction == LossReduction::none ? e.rows : 1),
      op, ": loss must be one value, or one per row, of the dtype of the logits");
  EMULSION_CHECK(
      max.dtype == accumulator_dtype(logits.dtype) && max.numel() == e.rows && alike(max, sum), op,
      ": max and sum must be float32, one value per row");
  return e;
}

static inline LossExtents checked_cross_entropy_backward(const View& dloss, const View& logits,
                                                         const View& target, const View& max,
                                                         const View& sum, int64_t reduction,
                                                         const View& dlogits) {
  const char* const op = "cross_entropy_backward";
  const LossExtents e = checked_cross_entropy(op, logits, target, dloss, max, sum, reduction);
  EMULSION_CHECK(alike(logits, dlogits), op, ": dlogits must be like logits");
  return e;
}

}  // namespace emulsion
