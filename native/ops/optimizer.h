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
//   clip_by_norm    x *= min(1, max_norm / (norm + 1e-6)); no value travels to the host
//   scale_tensors   x *= factor · (by, when present: one element)
//
// muon_step's parameters have two axes or more; its sums run in orders that depend on shapes alone.
// Every list has one entry per parameter, in one order and with equal shapes; masters, and the
// buffers without momentum, may be empty. Parameters are of any floating dtype; state (moments,
// buffers, masters, shadows) is float32, or float64 beside float64 parameters; gradients have the
// parameter's dtype or the state's. With masters the step is done on the master and the parameter
// becomes its rounded copy. grad_scale (optional), norm and by are one float32. Bandwidth bound:
// Adam reads four and writes three values per parameter.
#pragma once

#include "ops/kernels.h"

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
                 void clip_by_norm(const Views& xs, const View& norm, double max_norm);
                 void scale_tensors(const Views& xs, const View& by, double factor);)
