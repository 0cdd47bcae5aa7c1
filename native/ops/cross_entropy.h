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

#include "ops/kernels.h"

EMULSION_KERNELS(void cross_entropy_forward(const View& logits, const View& target,
                                            int64_t ignore_index, double label_smoothing,
                                            int64_t reduction, View& loss, View& max, View& sum);
                 void cross_entropy_backward(const View& dloss, const View& logits,
                                             const View& target, const View& max, const View& sum,
                                             int64_t ignore_index, double label_smoothing,
                                             int64_t reduction, View& dlogits);)
