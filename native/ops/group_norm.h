// Group norm over channels-last tensors, with an optional per-sample affine map and SiLU.
//
//   x [N, ..., C], groups G divide C; per sample n and group g over the M = pixels·C/G values of g:
//   mean = Σx / M, rstd = 1 / √(Σ(x - mean)² / M + eps)          (biased variance)
//   u = (x - mean)·rstd·weight[c] + bias[c]
//   v = u·(1 + scale[n, c]) + shift[n, c]                         (scale, shift: both or none)
//   y = silu ? v·σ(v) : v
//
// weight, bias [C], scale, shift [N, C]: optional, any floating dtype. mean, rstd [N, G] are
// outputs of the forward pass in float32 (float64 for float64 x) and all that the backward pass
// needs beside the inputs. Backward recomputes u and v; each of its outputs is optional and has its
// input's shape and dtype. y and dx have the dtype of x. No output may alias an input.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void group_norm_forward(const View& x, const View& weight, const View& bias,
                                         const View& scale, const View& shift, double eps,
                                         bool silu, View& y, View& mean, View& rstd);
                 void group_norm_backward(const View& dy, const View& x, const View& weight,
                                          const View& bias, const View& scale, const View& shift,
                                          const View& mean, const View& rstd, bool silu, View& dx,
                                          View& dweight, View& dbias, View& dscale, View& dshift);)
