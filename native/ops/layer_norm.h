// Layer norm over the last axis.
//
//   x [..., C]; per row: mean = Σx / C, rstd = 1 / √(Σ(x - mean)² / C + eps)
//   y = (x - mean)·rstd·weight[c] + bias[c]
//
// weight, bias [C]: optional, any floating dtype. mean, rstd [rows] are written by the forward pass
// in float32 (float64 for float64 x). y and dx have the dtype of x; dx, dweight and dbias are
// optional outputs, the latter two of their input's dtype. No output may alias an input.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void layer_norm_forward(const View& x, const View& weight, const View& bias,
                                         double eps, View& y, View& mean, View& rstd);
                 void layer_norm_backward(const View& dy, const View& x, const View& weight,
                                          const View& mean, const View& rstd, View& dx,
                                          View& dweight, View& dbias);)

namespace emulsion {

struct LayerExtents {
  int64_t rows, channels;
};

static inline LayerExtents checked_layer_norm(const char* op, const View& x, const View& weight,
                                              const View& mean, const View& rstd) {
  EMULSION_CHECK(is_floating(x.dtype) && x.rank() >= 1 && x.dim(-1) > 0, op,
                 ": x must be floating [..., C]");
  const LayerExtents e{x.shape.product(0, x.rank() - 1), x.dim(-1)};
  EMULSION_CHECK(absent_or_values(weight, e.channels), op, ": weight must be [C]");
  EMULSION_CHECK(
      mean.dtype == accumulator_dtype(x.dtype) && mean.numel() == e.rows && alike(mean, rstd), op,
      ": mean and rstd must be float32, one value per row");
  return e;
}

static inline LayerExtents checked_layer_norm_forward(const View& x, const View& weight,
                                                      const View& bias, const View& y,
                                                      const View& mean, const View& rstd) {
  const char* const op = "layer_norm_forward";
  const LayerExtents e = checked_layer_norm(op, x, weight, mean, rstd);
  EMULSION_CHECK(alike(x, y), op, ": y must be like x");
  EMULSION_CHECK(absent_or_values(bias, e.channels), op, ": bias must be [C]");
  return e;
}

static inline LayerExtents checked_layer_norm_backward(const View& dy, const View& x,
                                                       const View& weight, const View& mean,
                                                       const View& rstd, const View& dx,
                                                       const View& dweight, const View& dbias) {
  const char* const op = "layer_norm_backward";
  const LayerExtents e = checked_layer_norm(op, x, weight, mean, rstd);
  EMULSION_CHECK(alike(x, dy) && absent_or_alike(dx, x), op, ": dy and dx must be like x");
  EMULSION_CHECK(absent_or_values(dweight, e.channels) && absent_or_values(dbias, e.channels), op,
                 ": dweight and dbias must be [C]");
  return e;
}

}  // namespace emulsion
