// Layer norm over the last axis.
//
//   x [..., C]; per row: mean = Σx / C, rstd = 1 / √(Σ(x - mean)² / C + eps)
//   y = (x - mean)·rstd·weight[c] + bias[c]
//
// weight, bias [C]: optional, any floating dtype. mean, rstd [rows] are written by the forward pass
// in float32 (float64 for float64 x). y and dx have the dtype of x; dx, dweight and dbias are
// optional outputs, the latter two of their input's dtype. No output may alias an input.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void layer_norm_forward(const View& x, const View& weight, const View& bias,
                                         double eps, View& y, View& mean, View& rstd);
                 void layer_norm_backward(const View& dy, const View& x, const View& weight,
                                          const View& mean, const View& rstd, View& dx,
                                          View& dweight, View& dbias);)
