// Muon on the CPU: one task per matrix, all of a matrix's products on one thread. A model has many
// more matrices than a machine has cores, and most are too small to share.
//
// X ← (a I + b S + c S²) X, S = X Xᵀ on the shorter side, drives every singular value of X towards
// 1 (Newton and Schulz). What the iterations multiply X by are polynomials of the first S, which
// commute, so that a long X need not be touched in between: with P = a I + b S + c S² the next S is
// P S P, and X is multiplied by the product of all P at the end. It costs digits where singular
// values are small, as the smallest of nearly square matrices are; those go step by step, which
// takes no longer. All of the small matrices are symmetric.
#include <utility>

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
  constexpr int64_t lanes = 16;
  double squares[lanes] = {};
  for (int64_t i = 0; i < count; i += lanes)
    for (int64_t lane = 0; lane < lanes && i + lane < count; ++lane)
      squares[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
  double sum = 0;
  for (const double square : squares) sum += square;
  return __builtin_sqrt(sum);
}

// C = alpha · A · B [n, n], which is known to be symmetric: what lies on the diagonal and above it
// is computed, in whole tiles, and mirrored. Rows lie ld apart, those of C n. Uses scratch slots 0
// to 2.
template <class A>
void symmetric_product(int64_t n, int64_t depth, const A* a, int64_t lda, bool transpose_a,
                       const A* b, int64_t ldb, bool transpose_b, A* c, A alpha = 1) {
  using V = Vec<A>;
  constexpr int64_t width = Tile<A>::columns;
  const auto layout = panel_layout<A>(n, depth, n, b, ldb, transpose_b);
  A* const panels = scratch<A>(0, layout.size());
  const MatrixRows<A, A> source(a, lda, transpose_a, depth);
  for (int64_t panel = 0; panel < layout.count(); ++panel) {
    if (panel >= layout.first_packed())
      pack_panel(b, ldb, transpose_b, layout, panel, panels + layout.offset(panel));
    const int64_t first = panel * width, end = first + layout.valid(panel);
    multiply_part<A>(source, layout, panels, Part{0, end, panel, panel + 1},
                     [&](const A* tile, int64_t row, int count, int64_t column, int columns) {
                       for (int i = 0; i < count; ++i)
                         for (int j = 0; j < columns; j += V::size)
                           store_up_to(V::load(tile + i * width + j) * V(alpha),
                                       c + (row + i) * n + column + j, columns - j);
                     });
    for (int64_t i = first; i < end; i += V::size) {
      const int64_t rest = end - i < V::size ? end - i : V::size;
      for (int64_t j = 0; j < first; j += V::size) {
        V square[V::size];
#pragma GCC unroll 16
        for (int k = 0; k < V::size; ++k) square[k] = load_up_to<A>(c + (j + k) * n + i, rest);
        transpose<A>(square);
        for (int64_t k = 0; k < rest; ++k) square[k].store(c + (i + k) * n + j);
      }
    }
    for (int64_t i = first; i < end; ++i)
      for (int64_t j = first; j < i; ++j) c[i * n + j] = c[j * n + i];
  }
}

// P = a I + b S + c S²
template <class A>
void polynomial(const MuonConstants& k, int64_t n, const A* s, A* p) {
  symmetric_product(n, n, s, n, false, s, n, false, p, static_cast<A>(k.c));
  const Vec<A> b(static_cast<A>(k.b));
  in_vectors<A>(n * n, [&](auto load, auto store) { store(fma(b, load(s), load(p)), p); });
  for (int64_t i = 0; i < n; ++i) p[i * n + i] += static_cast<A>(k.a);
}

// All iterations. Uses scratch slots 0 to 2, 4 and 5.
template <class A>
A* orthogonalize(const MuonConstants& k, const Matrix& m, A* x) {
  const int64_t n = m.shorter(), ld = m.columns, longer = m.numel() / n;
  const bool tall = m.rows > m.columns;
  const int64_t together = longer >= 2 * n ? k.iterations : 1;
  A* next = scratch<A>(4, m.numel());
  A* const s = scratch<A>(5, 4 * n * n);
  A *const p = s + n * n, *q = p + n * n, *product = q + n * n;
  for (int64_t done = 0; done < k.iterations; done += together) {
    symmetric_product(n, longer, x, ld, tall, x, ld, !tall, s);
    polynomial(k, n, s, q);
    const A* last = q;
    for (int64_t i = 1; i < together; ++i) {
      symmetric_product(n, n, last, n, false, s, n, false, product);
      symmetric_product(n, n, last, n, false, product, n, false, s);
      polynomial(k, n, s, p);
      symmetric_product(n, n, p, n, false, q, n, false, product);
      std::swap(q, product);
      last = p;
    }
    if (tall)
      gemm(m.rows, n, n, x, n, false, q, n, false, next, n);
    else
      gemm(n, ld, n, q, n, false, x, ld, false, next, ld);
    std::swap(x, next);
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
