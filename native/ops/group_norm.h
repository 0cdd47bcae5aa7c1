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

#include "ops/checks.h"

EMULSION_KERNELS(void group_norm_forward(const View& x, const View& weight, const View& bias,
                                         const View& scale, const View& shift, double eps,
                                         bool silu, View& y, View& mean, View& rstd);
                 void group_norm_backward(const View& dy, const View& x, const View& weight,
                                          const View& bias, const View& scale, const View& shift,
                                          const View& mean, const View& rstd, bool silu, View& dx,
                                          View& dweight, View& dbias, View& dscale, View& dshift);)

namespace emulsion {

struct GroupExtents {
  int64_t images, pixels, channels, groups;

  EMULSION_INLINE int64_t group_channels() const { return channels / groups; }
};

static inline GroupExtents checked_group_norm(const char* op, const View& x, const View& weight,
                                              const View& bias, const View& scale,
                                              const View& shift, const View& mean,
                                              const View& rstd) {
  EMULSION_CHECK(is_floating(x.dtype) && x.rank() >= 2, op, ": x must be floating [N, ..., C]");
  EMULSION_CHECK(mean.rank() == 2 && mean.dim(0) == x.dim(0) && alike(mean, rstd), op,
                 ": mean and rstd must be [N, groups]");
  EMULSION_CHECK(mean.dtype == accumulator_dtype(x.dtype), op, ": mean and rstd must be float32");
  const GroupExtents e{x.dim(0), x.shape.product(1, x.rank() - 1), x.dim(-1), mean.dim(1)};
  EMULSION_CHECK(e.channels > 0 && e.groups > 0 && e.channels % e.groups == 0, op,
                 ": channels must be divisible by groups");
  EMULSION_CHECK(absent_or_values(weight, e.channels) && absent_or_values(bias, e.channels), op,
                 ": weight and bias must be [C]");
  EMULSION_CHECK(scale.present == shift.present && absent_or_values(scale, e.images * e.channels) &&
                     absent_or_values(shift, e.images * e.channels),
                 op, ": scale and shift must both be [N, C]");
  return e;
}

static inline GroupExtents checked_group_norm_forward(const View& x, const View& weight,
                                                      const View& bias, const View& scale,
                                                      const View& shift, const View& y,
                                                      const View& mean, const View& rstd) {
  const char* const op = "group_norm_forward";
  const GroupExtents e = checked_group_norm(op, x, weight, bias, scale, shift, mean, rstd);
  EMULSION_CHECK(alike(x, y), op, ": y must be like x");
  return e;
}

static inline GroupExtents checked_group_norm_backward(
    const View& dy, const View& x, const View& weight, const View& bias, const View& scale,
    const View& shift, const View& mean, const View& rstd, const View& dx, const View& dweight,
    const View& dbias, const View& dscale, const View& dshift) {
  const char* const op = "group_norm_backward";
  const GroupExtents e = checked_group_norm(op, x, weight, bias, scale, shift, mean, rstd);
  EMULSION_CHECK(alike(x, dy) && absent_or_alike(dx, x), op, ": dy and dx must be like x");
  EMULSION_CHECK(absent_or_values(dweight, e.channels) && absent_or_values(dbias, e.channels), op,
                 ": dweight and dbias must be [C]");
  EMULSION_CHECK(absent_or_values(dscale, e.images * e.channels) &&
                     absent_or_values(dshift, e.images * e.channels),
                 op, ": dscale and dshift must be [N, C]");
  return e;
}

}  // namespace emulsion
