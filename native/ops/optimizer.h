// Optimizer steps over all tensors of a model in one call, in place.
//
//   adam_step       g = grad · grad_scale; decoupled (AdamW): p -= lr wd p, else g += wd p;
//                   m += (1 - β1)(g - m); v = β2 v + (1 - β2) g²;
//                   p -= lr / bias1 · m / (√v / √bias2 + eps), bias1 = 1 - β1^t, bias2 = 1 - β2^t
//   sgd_step        g = grad · grad_scale + wd p; b = momentum · b + g (buffers b start as zeros);
//                   p -= lr (nesterov ? g + momentum · b : momentum ? b : g)
//   muon_step       g = grad · grad_scale; b += (1 - momentum)(g - b) (buffers b start as zeros);
//                   u = nesterov ? g + momentum (b - g) : b, as a matrix of the first axis by the
//                   others; X = u / max(‖u‖, eps), then `iterations` times
//                   X = (a I + b S + c S²) X with S = X Xᵀ (of the shorter side);
//                   p -= lr wd p; p -= lr · k · X, where k of a [rows, columns] matrix is
//                   match_rms ? 0.2 √max(rows, columns) : √max(1, rows / columns)
//   ema_update      s -= (1 - decay)(s - p)
//   global_norm     norm = sqrt(sum of all squares): double, in an order independent of threads
//   scale_tensors   x *= factor · (by, when present: one element)
//
// muon_step's parameters have two axes or more; its sums run in orders that depend on shapes alone.
// Every list has one entry per parameter, in one order and with equal shapes; masters, and the
// buffers without momentum, may be empty. Parameters are of any floating dtype; state (moments,
// buffers, masters, shadows) is float32, or float64 beside float64 parameters; gradients have the
// parameter's dtype or the state's. With masters the step is done on the master and the parameter
// becomes its rounded copy. grad_scale (optional), norm and by are one float32 on the device: no
// value travels to the host. Bandwidth bound: Adam reads four and writes three values per
// parameter.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void adam_step(const Views& params, const Views& grads, const Views& moments1,
                                const Views& moments2, const Views& masters, const View& grad_scale,
                                double lr, double beta1, double beta2, double eps,
                                double weight_decay, bool decoupled, double bias1, double bias2);
                 void sgd_step(const Views& params, const Views& grads, const Views& buffers,
                               const Views& masters, const View& grad_scale, double lr,
                               double momentum, double weight_decay, bool nesterov);
                 void muon_step(const Views& params, const Views& grads, const Views& buffers,
                                const Views& masters, const View& grad_scale, double lr,
                                double momentum, double weight_decay, bool nesterov, double a,
                                double b, double c, double eps, int64_t iterations, bool match_rms);
                 void ema_update(const Views& shadows, const Views& params, double decay);
                 void global_norm(const Views& xs, View& norm);
                 void scale_tensors(const Views& xs, const View& by, double factor);)

namespace emulsion {

static inline bool same_list(const Views& a, const Views& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(a[i].shape == b[i].shape) || !a[i].present || !b[i].present) return false;
  return true;
}

static inline void check_floating(const char* op, const Views& xs) {
  for (const View& x : xs)
    EMULSION_CHECK(x && is_floating(x.dtype), op, ": every tensor must be floating");
}

static inline void check_one_float(const char* op, const View& x, const char* name) {
  EMULSION_CHECK(x && x.dtype == DType::float32 && x.numel() == 1, op, ": ", name,
                 " must be one float32");
}

static inline void check_state(const char* op, const char* name, const Views& params,
                               const Views& state) {
  EMULSION_CHECK(same_list(params, state), op, ": ", name,
                 " must match the parameters in number and shape");
  for (size_t i = 0; i < params.size(); ++i)
    EMULSION_CHECK(state[i].dtype == accumulator_dtype(params[i].dtype), op, ": ", name, " of a ",
                   dtype_name(params[i].dtype), " parameter must be ",
                   dtype_name(accumulator_dtype(params[i].dtype)), ", got ",
                   dtype_name(state[i].dtype));
}

static inline void check_grads(const char* op, const Views& params, const Views& grads,
                               const Views& masters, const View& grad_scale) {
  EMULSION_CHECK(same_list(params, grads), op,
                 ": gradients must match the parameters in number and shape");
  check_floating(op, params);
  for (size_t i = 0; i < params.size(); ++i)
    EMULSION_CHECK(
        grads[i].dtype == params[i].dtype || grads[i].dtype == accumulator_dtype(params[i].dtype),
        op, ": a gradient of a ", dtype_name(params[i].dtype), " parameter is ",
        dtype_name(grads[i].dtype));
  if (!masters.empty()) check_state(op, "masters", params, masters);
  if (grad_scale) check_one_float(op, grad_scale, "grad_scale");
}

static inline void check_adam(const Views& params, const Views& grads, const Views& moments1,
                              const Views& moments2, const Views& masters, const View& grad_scale) {
  check_grads("adam_step", params, grads, masters, grad_scale);
  check_state("adam_step", "first moments", params, moments1);
  check_state("adam_step", "second moments", params, moments2);
}

static inline void check_sgd(const Views& params, const Views& grads, const Views& buffers,
                             const Views& masters, const View& grad_scale, double momentum) {
  check_grads("sgd_step", params, grads, masters, grad_scale);
  if (!buffers.empty()) check_state("sgd_step", "momentum buffers", params, buffers);
  EMULSION_CHECK(momentum == 0 || !buffers.empty() || params.empty(),
                 "sgd_step: momentum needs buffers");
}

static inline void check_muon(const Views& params, const Views& grads, const Views& buffers,
                              const Views& masters, const View& grad_scale, int64_t iterations) {
  constexpr int64_t most = 100;
  check_grads("muon_step", params, grads, masters, grad_scale);
  check_state("muon_step", "momentum buffers", params, buffers);
  EMULSION_CHECK(iterations >= 0 && iterations <= most, "muon_step: iterations must be 0 to ", most,
                 ", got ", iterations);
  for (const View& param : params)
    EMULSION_CHECK(param.rank() >= 2, "muon_step: a parameter needs two axes or more, got ",
                   param.shape);
}

static inline void check_ema(const Views& shadows, const Views& params) {
  check_floating("ema_update", params);
  check_state("ema_update", "shadows", params, shadows);
}

}  // namespace emulsion
