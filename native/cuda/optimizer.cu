// Optimizer steps over lists of tensors (tensor_lists.cuh); Muon is in muon.cu.
//
// Bandwidth is the roof: Adam moves 28 bytes a float32 parameter, a 16-bit one with its gradient
// and master the same. A thread works on four neighbours at a time, in float32; numbers that live
// on the device (grad_scale, by) are read there, so nothing waits for the host. The global
// norm sums squares in float64, a partial sum per block, which one block adds up in order.
#include <cmath>

#include "cuda/tensor_lists.cuh"

namespace emulsion::cuda {
namespace {

struct Adam {
  float keep, decay, rate1, rate2, beta2, eps, step, root;
  bool decoupled;
};

// Lists: parameters, gradients, first and second moments, masters.
template <class P, class G>
__global__ void __launch_bounds__(piece_threads)
    adam_kernel(const __grid_constant__ TensorTable<5> table, Adam c, const float* grad_scale) {
  const TensorPiece piece = table.piece();
  P* p = table.elements<P>(0, piece);
  const G* g = table.elements<const G>(1, piece);
  float *m = table.elements<float>(2, piece), *v = table.elements<float>(3, piece),
        *master = table.elements<float>(4, piece);
  const float scale = grad_scale ? *grad_scale : 1.0f;
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float param[4], grad[4], mean[4], square[4];
    if (master)
      load_four(master, i, piece, param);
    else
      load_four(p, i, piece, param);
    load_four(g, i, piece, grad);
    load_four(m, i, piece, mean);
    load_four(v, i, piece, square);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      grad[k] *= scale;
      if (c.decoupled)
        param[k] *= c.keep;
      else
        grad[k] = fmaf(c.decay, param[k], grad[k]);
      mean[k] = fmaf(c.rate1, grad[k] - mean[k], mean[k]);
      square[k] = fmaf(c.rate2 * grad[k], grad[k], c.beta2 * square[k]);
      param[k] -= c.step * (mean[k] / (sqrtf(square[k]) / c.root + c.eps));
    }
    store_four(m, i, piece, mean);
    store_four(v, i, piece, square);
    if (master) store_four(master, i, piece, param);
    store_four(p, i, piece, param);
  }
}

struct Sgd {
  float lr, momentum, decay;
  bool nesterov;
};

// Lists: parameters, gradients, buffers, masters.
template <class P, class G>
__global__ void __launch_bounds__(piece_threads)
    sgd_kernel(const __grid_constant__ TensorTable<4> table, Sgd c, const float* grad_scale) {
  const TensorPiece piece = table.piece();
  P* p = table.elements<P>(0, piece);
  const G* g = table.elements<const G>(1, piece);
  float *buffer = table.elements<float>(2, piece), *master = table.elements<float>(3, piece);
  const float scale = grad_scale ? *grad_scale : 1.0f;
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float param[4], grad[4];
    if (master)
      load_four(master, i, piece, param);
    else
      load_four(p, i, piece, param);
    load_four(g, i, piece, grad);
#pragma unroll
    for (int k = 0; k < 4; ++k) grad[k] = fmaf(c.decay, param[k], grad[k] * scale);
    if (buffer) {
      float velocity[4];
      load_four(buffer, i, piece, velocity);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        velocity[k] = fmaf(c.momentum, velocity[k], grad[k]);
        grad[k] = c.nesterov ? fmaf(c.momentum, velocity[k], grad[k]) : velocity[k];
      }
      store_four(buffer, i, piece, velocity);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) param[k] -= c.lr * grad[k];
    if (master) store_four(master, i, piece, param);
    store_four(p, i, piece, param);
  }
}

// Lists: shadows, parameters.
template <class P>
__global__ void __launch_bounds__(piece_threads)
    ema_kernel(const __grid_constant__ TensorTable<2> table, float rate) {
  const TensorPiece piece = table.piece();
  float* s = table.elements<float>(0, piece);
  const P* p = table.elements<const P>(1, piece);
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float shadow[4], param[4];
    load_four(s, i, piece, shadow);
    load_four(p, i, piece, param);
#pragma unroll
    for (int k = 0; k < 4; ++k) shadow[k] -= rate * (shadow[k] - param[k]);
    store_four(s, i, piece, shadow);
  }
}

template <class T>
__global__ void __launch_bounds__(piece_threads)
    multiply_kernel(const __grid_constant__ TensorTable<1> table, const float* by, float constant) {
  const float factor = by ? constant * *by : constant;
  if (factor == 1.0f) return;
  const TensorPiece piece = table.piece();
  T* x = table.elements<T>(0, piece);
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float values[4];
    load_four(x, i, piece, values);
#pragma unroll
    for (float& value : values) value *= factor;
    store_four(x, i, piece, values);
  }
}

template <class T>
__global__ void __launch_bounds__(piece_threads)
    square_kernel(const __grid_constant__ TensorTable<1> table, double* partials) {
  const TensorPiece piece = table.piece();
  const T* x = table.elements<const T>(0, piece);
  double sums[4] = {};
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float values[4];
    load_four(x, i, piece, values);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const double value = static_cast<double>(values[k]);
      sums[k] += value * value;
    }
  }
  const double sum = block_reduce((sums[0] + sums[1]) + (sums[2] + sums[3]), 0.0, Sum());
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(1024)
    norm_kernel(const double* partials, int64_t count, float* norm) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
  sum = block_reduce(sum, 0.0, Sum());
  if (threadIdx.x == 0) *norm = static_cast<float>(::sqrt(sum));
}

}  // namespace

void adam_step(const Views& params, const Views& grads, const Views& moments1,
               const Views& moments2, const Views& masters, const View& grad_scale, double lr,
               double beta1, double beta2, double eps, double weight_decay, bool decoupled,
               double bias1, double bias2) {
  refuse_float64("adam_step", params);
  check_adam(params, grads, moments1, moments2, masters, grad_scale);
  const Adam constants{static_cast<float>(1 - lr * weight_decay),
                       static_cast<float>(weight_decay),
                       static_cast<float>(1 - beta1),
                       static_cast<float>(1 - beta2),
                       static_cast<float>(beta2),
                       static_cast<float>(eps),
                       static_cast<float>(lr / bias1),
                       static_cast<float>(std::sqrt(bias2)),
                       decoupled};
  for_step_dtypes(params, grads, [&]<class P, class G>(auto&& wanted) {
    in_tables<5>({&params, &grads, &moments1, &moments2, &masters}, wanted,
                 [&](const TensorTable<5>& table) {
                   launch("adam_step", adam_kernel<P, G>, grid_of(table), table, constants,
                          pointer_or_null(grad_scale));
                 });
  });
}

void sgd_step(const Views& params, const Views& grads, const Views& buffers, const Views& masters,
              const View& grad_scale, double lr, double momentum, double weight_decay,
              bool nesterov) {
  refuse_float64("sgd_step", params);
  check_sgd(params, grads, buffers, masters, grad_scale, momentum);
  const Sgd constants{static_cast<float>(lr), static_cast<float>(momentum),
                      static_cast<float>(weight_decay), nesterov};
  for_step_dtypes(params, grads, [&]<class P, class G>(auto&& wanted) {
    in_tables<4>({&params, &grads, &buffers, &masters}, wanted, [&](const TensorTable<4>& table) {
      launch("sgd_step", sgd_kernel<P, G>, grid_of(table), table, constants,
             pointer_or_null(grad_scale));
    });
  });
}

void ema_update(const Views& shadows, const Views& params, double decay) {
  refuse_float64("ema_update", params);
  check_ema(shadows, params);
  for_param_dtypes(params, [&]<class P>(auto&& wanted) {
    in_tables<2>({&shadows, &params}, wanted, [&](const TensorTable<2>& table) {
      launch("ema_update", ema_kernel<P>, grid_of(table), table, static_cast<float>(1 - decay));
    });
  });
}

void global_norm(const Views& xs, View& norm) {
  refuse_float64("global_norm", xs);
  check_floating("global_norm", xs);
  check_one_float("global_norm", norm, "norm");
  int64_t pieces = 0;
  for (const View& x : xs) pieces += ceil_div(x.numel(), piece_elements);
  const Workspace partials(std::max<int64_t>(1, pieces) * static_cast<int64_t>(sizeof(double)));
  double* next = partials.as<double>();
  for_param_dtypes(xs, [&]<class T>(auto&& wanted) {
    in_tables<1>({&xs}, wanted, [&](const TensorTable<1>& table) {
      launch("global_norm", square_kernel<T>, grid_of(table), table, next);
      next += table.blocks();
    });
  });
  launch("global_norm", norm_kernel, Grid{dim3(1), dim3(pieces > piece_threads ? 1024 : 256)},
         static_cast<const double*>(partials.as<double>()), pieces, norm.as<float>());
}

void scale_tensors(const Views& xs, const View& by, double factor) {
  refuse_float64("scale_tensors", xs);
  check_floating("scale_tensors", xs);
  if (by) check_one_float("scale_tensors", by, "by");
  for_param_dtypes(xs, [&]<class T>(auto&& wanted) {
    in_tables<1>({&xs}, wanted, [&](const TensorTable<1>& table) {
      launch("scale_tensors", multiply_kernel<T>, grid_of(table), table, pointer_or_null(by),
             static_cast<float>(factor));
    });
  });
}

}  // namespace emulsion::cuda
