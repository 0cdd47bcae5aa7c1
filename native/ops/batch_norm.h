// Batch norm over channels-last tensors: statistics of each channel over all other axes.
//
//   x [N, ..., C], R = numel / C rows
//   training: mean = Σx / R, var = Σ(x - mean)² / R; the running statistics, where present, become
//             running_mean += momentum·(mean - running_mean)
//             running_var  += momentum·(var·R / (R - 1) - running_var)        (unbiased; needs R >
//             1)
//   else:     mean = running_mean, var = running_var
//   rstd = 1 / √(var + eps);  y = (x - mean)·rstd·weight[c] + bias[c]
//
// weight, bias, running_mean, running_var [C]: any floating dtype, weight and bias optional. mean,
// rstd [C] are written in float32 (float64 for float64 x). Backward wants the flag of its forward:
// in evaluation the statistics are constants. dx, dweight and dbias are optional outputs. No output
// may alias an input.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void batch_norm_forward(const View& x, const View& weight, const View& bias,
                                         bool training, double momentum, double eps,
                                         View& running_mean, View& running_var, View& y, View& mean,
                                         View& rstd);
                 void batch_norm_backward(const View& dy, const View& x, const View& weight,
                                          const View& mean, const View& rstd, bool training,
                                          View& dx, View& dweight, View& dbias);)
