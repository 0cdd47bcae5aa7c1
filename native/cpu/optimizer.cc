// Optimizer steps on the CPU. The elements of all tensors form one range that is split over the
// threads, so a model of a thousand small tensors costs one parallel region; within a tensor the
// loops run on vectors.
#include "cpu/optimizer_lists.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Calls body(tensor, first, count) on pieces that together cover every element of the list.
template <class Body>
void for_pieces(const Views& list, Body&& body) {
  int64_t total = 0;
  for (const View& view : list) total += view.numel();
  parallel_for(total, grain_elements, [&](int64_t begin, int64_t end) {
    size_t tensor = 0;
    int64_t start = 0;  // of the tensor, in the range of all elements
    while (begin >= start + list[tensor].numel()) start += list[tensor++].numel();
    while (begin < end) {
      const int64_t stop = start + list[tensor].numel();
      const int64_t until = stop < end ? stop : end;
      if (until > begin) body(tensor, begin - start, until - begin);
      begin = until;
      start = stop;
      ++tensor;
    }
  });
}

struct AdamConstants {
  double lr, beta1, beta2, eps, weight_decay, bias1, bias2;
  bool decoupled;
  float grad_scale;
};

template <class P, class G, class A>
void adam_piece(const AdamConstants& c, P* p, const G* g, A* m, A* v, A* master, int64_t count) {
  using V = Vec<A>;
  const V scale(static_cast<A>(c.grad_scale)), keep(static_cast<A>(1 - c.lr * c.weight_decay));
  const V decay(static_cast<A>(c.weight_decay)), rate1(static_cast<A>(1 - c.beta1)),
      rate2(static_cast<A>(1 - c.beta2));
  const V beta2(static_cast<A>(c.beta2)), eps(static_cast<A>(c.eps)),
      step(static_cast<A>(c.lr / c.bias1));
  const V root(static_cast<A>(__builtin_sqrt(c.bias2)));
  in_vectors<A>(count, [&](auto load, auto store) {
    V grad = load(g) * scale, param = master ? load(master) : load(p);
    if (c.decoupled)
      param *= keep;
    else
      grad = fma(decay, param, grad);
    const V first = load(m), mean = fma(rate1, grad - first, first);
    const V square = fma(rate2 * grad, grad, beta2 * load(v));
    param -= step * (mean / (sqrt(square) / root + eps));
    store(mean, m);
    store(square, v);
    if (master) store(param, master);
    store(param, p);
  });
}

struct SgdConstants {
  double lr, momentum, weight_decay;
  bool nesterov;
  float grad_scale;
};

template <class P, class G, class A>
void sgd_piece(const SgdConstants& c, P* p, const G* g, A* buffer, A* master, int64_t count) {
  using V = Vec<A>;
  const V scale(static_cast<A>(c.grad_scale)), decay(static_cast<A>(c.weight_decay));
  const V momentum(static_cast<A>(c.momentum)), lr(static_cast<A>(c.lr));
  in_vectors<A>(count, [&](auto load, auto store) {
    V param = master ? load(master) : load(p), grad = fma(decay, param, load(g) * scale);
    if (buffer) {
      const V velocity = fma(momentum, load(buffer), grad);
      store(velocity, buffer);
      grad = c.nesterov ? fma(momentum, velocity, grad) : velocity;
    }
    param -= lr * grad;
    if (master) store(param, master);
    store(param, p);
  });
}

template <class T>
double sum_of_squares(const T* x, int64_t count) {
  constexpr int width = 16;
  double sums[width] = {};
  int64_t i = 0;
  for (; i + width <= count; i += width) {
    prefetch_beyond<2 * bytes_ahead>(x + i);
    for (int lane = 0; lane < width; ++lane) {
      const double value = static_cast<double>(convert<Accumulator<T>>(x[i + lane]));
      sums[lane] += value * value;
    }
  }
  for (; i < count; ++i) {
    const double value = static_cast<double>(convert<Accumulator<T>>(x[i]));
    sums[0] += value * value;
  }
  for (int half = width / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

}  // namespace

void adam_step(const Views& params, const Views& grads, const Views& moments1,
               const Views& moments2, const Views& masters, const View& grad_scale, double lr,
               double beta1, double beta2, double eps, double weight_decay, bool decoupled,
               double bias1, double bias2) {
  check_adam(params, grads, moments1, moments2, masters, grad_scale);
  const AdamConstants constants{
      lr, beta1, beta2, eps, weight_decay, bias1, bias2, decoupled, scale_of(grad_scale)};
  for_pieces(params, [&](size_t tensor, int64_t first, int64_t count) {
    dispatch_param(params[tensor], grads[tensor], "adam_step", [&]<class P, class G, class A>() {
      adam_piece<P, G, A>(constants, params[tensor].as<P>() + first, grads[tensor].as<G>() + first,
                          at<A>(moments1, tensor, first), at<A>(moments2, tensor, first),
                          at<A>(masters, tensor, first), count);
    });
  });
}

void sgd_step(const Views& params, const Views& grads, const Views& buffers, const Views& masters,
              const View& grad_scale, double lr, double momentum, double weight_decay,
              bool nesterov) {
  check_sgd(params, grads, buffers, masters, grad_scale, momentum);
  const SgdConstants constants{lr, momentum, weight_decay, nesterov, scale_of(grad_scale)};
  for_pieces(params, [&](size_t tensor, int64_t first, int64_t count) {
    dispatch_param(params[tensor], grads[tensor], "sgd_step", [&]<class P, class G, class A>() {
      sgd_piece<P, G, A>(constants, params[tensor].as<P>() + first, grads[tensor].as<G>() + first,
                         at<A>(buffers, tensor, first), at<A>(masters, tensor, first), count);
    });
  });
}

void ema_update(const Views& shadows, const Views& params, double decay) {
  check_ema(shadows, params);
  for_pieces(params, [&](size_t tensor, int64_t first, int64_t count) {
    dispatch_floating(params[tensor].dtype, "ema_update", [&]<class P>() {
      using A = Accumulator<P>;
      const P* p = params[tensor].as<P>() + first;
      A* s = shadows[tensor].as<A>() + first;
      const Vec<A> rate(static_cast<A>(1 - decay));
      in_vectors<A>(count, [&](auto load, auto store) {
        const Vec<A> shadow = load(s);
        store(shadow - rate * (shadow - load(p)), s);
      });
    });
  });
}

void global_norm(const Views& xs, View& norm) {
  check_floating("global_norm", xs);
  check_one_float("global_norm", norm, "norm");
  // Pieces of fixed length, whatever the number of threads: the same sums in the same order.
  const auto pieces_of = [](const View& x) {
    return (x.numel() + grain_elements - 1) / grain_elements;
  };
  int64_t pieces = 0;
  for (const View& x : xs) pieces += pieces_of(x);
  double* sums = scratch<double>(0, pieces);
  parallel_for(pieces, 4, [&](int64_t begin, int64_t end) {
    size_t tensor = 0;
    int64_t start = 0;  // first piece of the tensor
    for (int64_t piece = begin; piece < end; ++piece) {
      while (piece >= start + pieces_of(xs[tensor])) start += pieces_of(xs[tensor++]);
      const View& x = xs[tensor];
      const int64_t first = (piece - start) * grain_elements, left = x.numel() - first;
      const int64_t count = left < grain_elements ? left : grain_elements;
      dispatch_floating(x.dtype, "global_norm",
                        [&]<class T>() { sums[piece] = sum_of_squares(x.as<T>() + first, count); });
    }
  });
  double total = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) total += sums[piece];
  *norm.as<float>() = static_cast<float>(__builtin_sqrt(total));
}

void scale_tensors(const Views& xs, const View& by, double factor) {
  check_floating("scale_tensors", xs);
  if (by) check_one_float("scale_tensors", by, "by");
  if (by) factor *= static_cast<double>(*by.as<float>());
  if (factor == 1) return;
  for_pieces(xs, [&](size_t tensor, int64_t first, int64_t count) {
    dispatch_floating(xs[tensor].dtype, "scale_tensors", [&]<class T>() {
      using A = Accumulator<T>;
      T* x = xs[tensor].as<T>() + first;
      const Vec<A> scale(static_cast<A>(factor));
      in_vectors<A>(count, [&](auto load, auto store) { store(load(x) * scale, x); });
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
