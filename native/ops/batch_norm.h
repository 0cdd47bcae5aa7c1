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

#include "ops/checks.h"

EMULSION_KERNELS(void batch_norm_forward(const View& x, const View& weight, const View& bias,
                                         bool training, double momentum, double eps,
                                         View& running_mean, View& running_var, View& y, View& mean,
                                         View& rstd);
                 void batch_norm_backward(const View& dy, const View& x, const View& weight,
                                          const View& mean, const View& rstd, bool training,
                                          View& dx, View& dweight, View& dbias);)

namespace emulsion {

static inline void check_batch_norm(const char* op, const View& x, const View& weight,
                                    const View& mean, const View& rstd) {
  EMULSION_CHECK(is_floating(x.dtype) && x.rank() >= 2 && x.dim(-1) > 0, op,
                 ": x must be floating [N, ..., C]");
  const int64_t channels = x.dim(-1);
  EMULSION_CHECK(absent_or_values(weight, channels), op, ": weight must be [C]");
  EMULSION_CHECK(
      mean.dtype == accumulator_dtype(x.dtype) && mean.numel() == channels && alike(mean, rstd), op,
      ": mean and rstd must be float32 [C]");
}

static inline void check_batch_norm_forward(const View& x, const View& weight, const View& bias,
                                            bool training, const View& running_mean,
                                            const View& running_var, const View& y,
                                            const View& mean, const View& rstd) {
  const char* const op = "batch_norm_forward";
  check_batch_norm(op, x, weight, mean, rstd);
  const int64_t channels = x.dim(-1);
  EMULSION_CHECK(alike(x, y), op, ": y must be like x");
  EMULSION_CHECK(absent_or_values(bias, channels) && absent_or_values(running_mean, channels) &&
                     absent_or_values(running_var, channels),
                 op, ": bias and running statistics must be [C]");
  EMULSION_CHECK(
      training ? x.numel() != channels : running_mean.present && running_var.present, op,
      ": training needs more than one value per channel, evaluation the running statistics");
}

static inline void check_batch_norm_backward(const View& dy, const View& x, const View& weight,
                                             const View& mean, const View& rstd, const View& dx,
                                             const View& dweight, const View& dbias) {
  const char* const op = "batch_norm_backward";
  check_batch_norm(op, x, weight, mean, rstd);
  EMULSION_CHECK(alike(x, dy) && absent_or_alike(dx, x), op, ": dy and dx must be like x");
  EMULSION_CHECK(absent_or_values(dweight, x.dim(-1)) && absent_or_values(dbias, x.dim(-1)), op,
                 ": dweight and dbias must be [C]");
}

}  // namespace emulsion
