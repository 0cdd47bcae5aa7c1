// Muon: momentum, then Newton and Schulz's iteration towards the nearest orthogonal matrix, then a
// step along it.
//
// Per iteration and [rows, columns] matrix with n the shorter side: two products of n² · longer and
// one of n³ multiply-adds on matmul's float32 path, which is the roof. Matrices of one shape and
// dtype go through the products as one batch, up to 16 M elements at a time, so that a network of
// equal blocks fills the device and costs few launches. Work buffers: the matrices twice and two
// squares of the shorter side. Norms sum in float64, a partial sum per piece, added up in order.
#include <cmath>
#include <map>
#include <tuple>

#include "cuda/tensor_lists.cuh"
#include "ops/matmul.h"

namespace emulsion::cuda {
namespace {

constexpr int64_t batch_elements = int64_t{1} << 24;
constexpr int64_t most_matrices = 1 << 15;  // along the grid's y

// Lists: gradients, buffers, directions. partials[block]: the direction's sum of squares.
template <class G>
__global__ void __launch_bounds__(piece_threads)
    momentum_kernel(const __grid_constant__ TensorTable<3> table, const float* grad_scale,
                    float momentum, float rate, bool nesterov, double* partials) {
  const TensorPiece piece = table.piece();
  const G* g = table.elements<const G>(0, piece);
  float *buffer = table.elements<float>(1, piece), *x = table.elements<float>(2, piece);
  const float scale = grad_scale ? *grad_scale : 1.0f;
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float grad[4], mean[4];
    load_four(g, i, piece, grad);
    load_four(buffer, i, piece, mean);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      grad[k] *= scale;
      mean[k] = fmaf(rate, grad[k] - mean[k], mean[k]);
      if (nesterov)
        grad[k] = fmaf(momentum, mean[k] - grad[k], grad[k]);
      else
        grad[k] = mean[k];
      sum += static_cast<double>(grad[k]) * static_cast<double>(grad[k]);
    }
    store_four(buffer, i, piece, mean);
    store_four(x, i, piece, grad);
  }
  sum = block_reduce(sum, 0.0, Sum());
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// A block per matrix: what its direction is multiplied with to have the norm 1.
__global__ void __launch_bounds__(piece_threads)
    inverse_norm_kernel(const double* partials, int64_t pieces, double eps, float* inverse) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += piece_threads)
    sum += partials[blockIdx.x * pieces + i];
  sum = block_reduce(sum, 0.0, Sum());
  const double norm = ::sqrt(sum);
  if (threadIdx.x == 0) inverse[blockIdx.x] = static_cast<float>(1.0 / (norm > eps ? norm : eps));
}

__global__ void normalize_kernel(float* x, int64_t count, const float* inverse) {
  const float factor = inverse[blockIdx.y];
  float* own = x + blockIdx.y * count;
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) own[i] *= factor;
}

// square2 = a I + b square + c square2, matrices of n · n.
__global__ void polynomial_kernel(const float* square, float* square2, uint32_t n, float a, float b,
                                  float c) {
  const int64_t count = static_cast<int64_t>(n) * n, matrix = blockIdx.y * count;
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const float value = fmaf(b, square[matrix + i], c * square2[matrix + i]);
    square2[matrix + i] = i % (n + 1) == 0 ? value + a : value;
  }
}

// Lists: parameters, directions, masters.
template <class P>
__global__ void __launch_bounds__(piece_threads)
    apply_kernel(const __grid_constant__ TensorTable<3> table, float keep, float step) {
  const TensorPiece piece = table.piece();
  P* p = table.elements<P>(0, piece);
  const float* x = table.elements<const float>(1, piece);
  float* master = table.elements<float>(2, piece);
  for (int i = static_cast<int>(threadIdx.x) * 4; i < piece.count; i += piece_threads * 4) {
    float param[4], direction[4];
    if (master)
      load_four(master, i, piece, param);
    else
      load_four(p, i, piece, param);
    load_four(x, i, piece, direction);
#pragma unroll
    for (int k = 0; k < 4; ++k) param[k] = fmaf(-step, direction[k], param[k] * keep);
    if (master) store_four(master, i, piece, param);
    store_four(p, i, piece, param);
  }
}

struct Constants {
  double lr, momentum, weight_decay;
  bool nesterov;
  double a, b, c, eps;
  int64_t iterations;
  bool match_rms;
  const float* grad_scale;
};

struct Matrix {
  int64_t rows, columns;

  explicit Matrix(const View& param)
      : rows(param.dim(0)), columns(rows > 0 ? param.numel() / rows : 0) {}
  int64_t numel() const { return rows * columns; }
  double scale(bool match_rms) const {
    const double tall = static_cast<double>(rows), wide = static_cast<double>(columns);
    if (match_rms) return 0.2 * std::sqrt(std::max(tall, wide));
    return std::sqrt(std::max(1.0, tall / wide));
  }
};

View float_view(float* data, const Shape& shape) { return {data, shape, DType::float32, true}; }

Grid matrix_grid(int64_t count, int64_t matrices) {
  Grid grid = stream_grid(count);
  grid.blocks.y = static_cast<unsigned>(matrices);
  return grid;
}

// The tensors of one batch: matrices of one shape, parameters and gradients of one dtype each.
struct Batch {
  Views params, grads, buffers, masters, directions;
};

void start_momentum(const Constants& k, const Batch& batch, double* partials) {
  dispatch_float(batch.grads[0].dtype, "muon_step", [&]<class G>() {
    double* next = partials;
    in_tables<3>(
        {&batch.grads, &batch.buffers, &batch.directions}, [](size_t) { return true; },
        [&](const TensorTable<3>& table) {
          launch("muon_step", momentum_kernel<G>, grid_of(table), table, k.grad_scale,
                 static_cast<float>(k.momentum), static_cast<float>(1 - k.momentum), k.nesterov,
                 next);
          next += table.blocks();
        });
  });
}

// Returns the last X, which is in x or in next: X = (a I + b S + c S²) X drives every singular
// value towards 1, with S on the shorter side.
float* orthogonalize(const Constants& k, const Matrix& m, int64_t matrices, float* x, float* next) {
  const bool tall = m.rows > m.columns;
  const int64_t n = std::min(m.rows, m.columns);
  const Workspace squares(2 * matrices * n * n * static_cast<int64_t>(sizeof(float)));
  View square = float_view(squares.as<float>(), {matrices, n, n});
  View square2 = float_view(squares.as<float>() + matrices * n * n, {matrices, n, n});
  for (int64_t i = 0; i < k.iterations; ++i) {
    const View from = float_view(x, {matrices, m.rows, m.columns});
    View to = float_view(next, {matrices, m.rows, m.columns});
    matmul_forward(from, from, tall, !tall, square);
    matmul_forward(square, square, false, false, square2);
    launch("muon_step", polynomial_kernel, matrix_grid(n * n, matrices),
           static_cast<const float*>(square.as<float>()), square2.as<float>(),
           static_cast<uint32_t>(n), static_cast<float>(k.a), static_cast<float>(k.b),
           static_cast<float>(k.c));
    if (tall)
      matmul_forward(from, square2, false, false, to);
    else
      matmul_forward(square2, from, false, false, to);
    std::swap(x, next);
  }
  return x;
}

void point_at(Batch& batch, float* x, int64_t numel) {
  batch.directions.clear();
  for (const View& param : batch.params) {
    batch.directions.push_back(float_view(x, param.shape));
    x += numel;
  }
}

void step(const Constants& k, Batch& batch) {
  const Matrix m(batch.params[0]);
  const int64_t matrices = static_cast<int64_t>(batch.params.size()), numel = m.numel();
  const int64_t pieces = ceil_div(numel, piece_elements);
  const Workspace directions(2 * matrices * numel * static_cast<int64_t>(sizeof(float)));
  const Workspace partials(matrices * pieces * static_cast<int64_t>(sizeof(double)));
  const Workspace inverses(matrices * static_cast<int64_t>(sizeof(float)));
  float* x = directions.as<float>();

  point_at(batch, x, numel);
  start_momentum(k, batch, partials.as<double>());
  launch("muon_step", inverse_norm_kernel,
         Grid{dim3(static_cast<unsigned>(matrices)), dim3(piece_threads)},
         static_cast<const double*>(partials.as<double>()), pieces, k.eps, inverses.as<float>());
  launch("muon_step", normalize_kernel, matrix_grid(numel, matrices), x, numel,
         static_cast<const float*>(inverses.as<float>()));
  point_at(batch, orthogonalize(k, m, matrices, x, x + matrices * numel), numel);

  const auto keep = static_cast<float>(1 - k.lr * k.weight_decay);
  const auto along = static_cast<float>(k.lr * m.scale(k.match_rms));
  dispatch_float(batch.params[0].dtype, "muon_step", [&]<class P>() {
    in_tables<3>(
        {&batch.params, &batch.directions, &batch.masters}, [](size_t) { return true; },
        [&](const TensorTable<3>& table) {
          launch("muon_step", apply_kernel<P>, grid_of(table), table, keep, along);
        });
  });
}

}  // namespace

void muon_step(const Views& params, const Views& grads, const Views& buffers, const Views& masters,
               const View& grad_scale, double lr, double momentum, double weight_decay,
               bool nesterov, double a, double b, double c, double eps, int64_t iterations,
               bool match_rms) {
  refuse_float64("muon_step", params);
  check_muon(params, grads, buffers, masters, grad_scale, iterations);
  const Constants constants{lr,
                            momentum,
                            weight_decay,
                            nesterov,
                            a,
                            b,
                            c,
                            eps,
                            iterations,
                            match_rms,
                            pointer_or_null(grad_scale)};
  using Kind = std::tuple<int64_t, int64_t, DType, DType>;
  std::map<Kind, Batch> batches;
  for (size_t i = 0; i < params.size(); ++i) {
    const Matrix m(params[i]);
    if (m.numel() == 0) continue;
    Batch& batch = batches[{m.rows, m.columns, params[i].dtype, grads[i].dtype}];
    batch.params.push_back(params[i]);
    batch.grads.push_back(grads[i]);
    batch.buffers.push_back(buffers[i]);
    if (!masters.empty()) batch.masters.push_back(masters[i]);
    const int64_t matrices = static_cast<int64_t>(batch.params.size());
    if (matrices == most_matrices || (matrices + 1) * m.numel() > batch_elements) {
      step(constants, batch);
      batch = {};
    }
  }
  for (auto& [kind, batch] : batches)
    if (!batch.params.empty()) step(constants, batch);
}

}  // namespace emulsion::cuda
