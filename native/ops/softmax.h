// Softmax and log-softmax along one axis.
//
//   m = max x;  softmax: y = exp(x - m) / Σ exp(x - m);  log-softmax: y = (x - m) - log Σ exp(x -
//   m) softmax backward: dx = y·(dy - Σ dy·y);  log-softmax backward: dx = dy - exp(y)·Σ dy
//
// Sums and maxima run along `axis` (0 <= axis < rank). All tensors have the shape and dtype of x;
// the backward passes take the forward's output y. An axis of only -∞, or one with NaN or +∞, gives
// NaN, as in PyTorch. No output may alias an input.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void softmax_forward(const View& x, int64_t axis, View& y);
                 void softmax_backward(const View& dy, const View& y, int64_t axis, View& dx);
                 void log_softmax_forward(const View& x, int64_t axis, View& y);
                 void log_softmax_backward(const View& dy, const View& y, int64_t axis, View& dx);)

namespace emulsion {

static inline void check_softmax(const char* op, const View& a, const View& b, int64_t axis) {
  EMULSION_CHECK(is_floating(a.dtype) && alike(a, b), op, ": tensors must be floating and alike");
  EMULSION_CHECK(axis >= 0 && axis < a.rank(), op, ": axis ", axis, " is outside rank ", a.rank());
}

}  // namespace emulsion
