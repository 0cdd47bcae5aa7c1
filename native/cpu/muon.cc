// Muon on the CPU: one task per matrix, all of a matrix's products on one thread. A model has many
// more matrices than a machine has cores, and most are too small to share.
#include "cpu/gemm.h"
#include "cpu/optimizer_lists.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

struct MuonConstants {
  double lr, momentum, weight_decay;
  bool nesterov;
  double a, b, c, eps;
  int64_t iterations;
  bool match_rms;
  float grad_scale;
};

struct Matrix {
  int64_t rows, columns;

  explicit Matrix(const View& param)
      : rows(param.dim(0)), columns(rows > 0 ? param.numel() / rows : 0) {}
  int64_t numel() const { return rows * columns; }
  int64_t shorter() const { return rows < columns ? rows : columns; }
  double scale(bool match_rms) const {
    const double tall = static_cast<double>(rows), wide = static_cast<double>(columns);
    if (match_rms) return 0.2 * __builtin_sqrt(tall > wide ? tall : wide);
    return tall > wide ? __builtin_sqrt(tall / wide) : 1.0;
  }
};

// Moves the buffer towards the gradient and writes the direction to x. Returns the direction's
// norm.
template <class G, class A>
double update_momentum(const MuonConstants& k, const G* g, A* buffer, A* x, int64_t count) {
  using V = Vec<A>;
  const V scale(static_cast<A>(k.grad_scale)), rate(static_cast<A>(1 - k.momentum)),
      momentum(static_cast<A>(k.momentum));
  in_vectors<A>(count, [&](auto load, auto store) {
    const V grad = load(g) * scale, before = load(buffer);
    const V mean = fma(rate, grad - before, before);
    store(mean, buffer);
    store(k.nesterov ? fma(momentum, mean - grad, grad) : mean, x);
  });
  double squares = 0;
  for (int64_t i = 0; i < count; ++i)
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return __builtin_sqrt(squares);
}

// X = (a I + b S + c S²) X drives every singular value of X towards 1 (Newton and Schulz), with S
// on the shorter side. Uses scratch slots 0 to 2 for the products and 4 to 6.
template <class A>
A* orthogonalize(const MuonConstants& k, const Matrix& m, A* x) {
  const int64_t n = m.shorter(), columns = m.columns;
  const bool tall = m.rows > columns;
  A* next = scratch<A>(4, m.numel());
  A* const square = scratch<A>(5, n * n);
  A* const polynomial = scratch<A>(6, n * n);
  for (int64_t i = 0; i < k.iterations; ++i) {
    gemm(n, n, tall ? m.rows : columns, x, columns, tall, x, columns, !tall, square, n);
    gemm(n, n, n, square, n, false, square, n, false, polynomial, n, static_cast<A>(k.c));
    const Vec<A> b(static_cast<A>(k.b));
    in_vectors<A>(n * n, [&](auto load, auto store) {
      store(fma(b, load(square), load(polynomial)), polynomial);
    });
    for (int64_t j = 0; j < n; ++j) polynomial[j * n + j] += static_cast<A>(k.a);
    if (tall)
      gemm(m.rows, n, n, x, n, false, polynomial, n, false, next, n);
    else
      gemm(n, columns, n, polynomial, n, false, x, columns, false, next, columns);
    A* const spent = x;
    x = next;
    next = spent;
  }
  return x;
}

template <class P, class G, class A>
void muon_matrix(const MuonConstants& k, const Matrix& m, P* p, const G* g, A* buffer, A* master) {
  using V = Vec<A>;
  const int64_t count = m.numel();
  A* x = scratch<A>(3, count);
  const double norm = update_momentum(k, g, buffer, x, count);
  const V inverse(static_cast<A>(1 / (norm > k.eps ? norm : k.eps)));
  in_vectors<A>(count, [&](auto load, auto store) { store(load(x) * inverse, x); });
  x = orthogonalize(k, m, x);
  const V keep(static_cast<A>(1 - k.lr * k.weight_decay));
  const V step(static_cast<A>(k.lr * m.scale(k.match_rms)));
  in_vectors<A>(count, [&](auto load, auto store) {
    const V param = (master ? load(master) : load(p)) * keep - step * load(x);
    if (master) store(param, master);
    store(param, p);
  });
}

}  // namespace

void muon_step(const Views& params, const Views& grads, const Views& buffers, const Views& masters,
               const View& grad_scale, double lr, double momentum, double weight_decay,
               bool nesterov, double a, double b, double c, double eps, int64_t iterations,
               bool match_rms) {
  check_muon(params, grads, buffers, masters, grad_scale, iterations);
  const MuonConstants constants{lr,         momentum,  weight_decay,        nesterov, a, b, c, eps,
                                iterations, match_rms, scale_of(grad_scale)};
  parallel_tasks(static_cast<int64_t>(params.size()), [&](int64_t task) {
    const size_t i = static_cast<size_t>(task);
    const Matrix m(params[i]);
    if (m.numel() == 0) return;
    dispatch_param(params[i], grads[i], "muon_step", [&]<class P, class G, class A>() {
      muon_matrix<P, G, A>(constants, m, params[i].as<P>(), grads[i].as<G>(), buffers[i].as<A>(),
                           at<A>(masters, i, 0));
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
