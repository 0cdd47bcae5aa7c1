#include "ops/scan.h"

#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

int64_t grain_of(const ScanLines& lines) { return 8192 / (lines.n + 1); }

// Arithmetic compares numbers; NaN is beyond every one of them.
template <class T>
EMULSION_INLINE auto comparable(T value) {
  if constexpr (__is_same(T, bfloat16) || __is_same(T, float16))
    return to_float(value);
  else
    return value;
}

template <class A>
EMULSION_INLINE bool precedes(A a, A b, bool largest) {
  if (b != b) return false;
  return a != a || (largest ? a > b : a < b);
}

template <class A>
struct Candidate {
  A value;
  int64_t index;

  EMULSION_INLINE bool before(const Candidate& other, bool largest) const {
    if (precedes(value, other.value, largest)) return true;
    return !precedes(other.value, value, largest) && index < other.index;
  }
};

// Restores the heap whose root, the candidate that comes last, may have sunk.
template <class A>
void sift_down(Candidate<A>* heap, int64_t count, int64_t root, bool largest) {
  for (;;) {
    int64_t last = root;
    for (int64_t child = 2 * root + 1; child <= 2 * root + 2 && child < count; ++child)
      if (heap[last].before(heap[child], largest)) last = child;
    if (last == root) return;
    const Candidate<A> moved = heap[root];
    heap[root] = heap[last];
    heap[last] = moved;
    root = last;
  }
}

// The first k of a line, in order: a heap of the best so far, then sorted in place.
template <class T, class A>
void best_of(const T* line, int64_t n, int64_t step, int64_t k, bool largest, Candidate<A>* heap) {
  for (int64_t i = 0; i < k; ++i) heap[i] = {comparable(line[i * step]), i};
  for (int64_t i = k / 2 - 1; i >= 0; --i) sift_down(heap, k, i, largest);
  for (int64_t i = k; i < n; ++i) {
    const Candidate<A> candidate{comparable(line[i * step]), i};
    if (!candidate.before(heap[0], largest)) continue;
    heap[0] = candidate;
    sift_down(heap, k, 0, largest);
  }
  for (int64_t count = k - 1; count > 0; --count) {
    const Candidate<A> last = heap[0];
    heap[0] = heap[count];
    heap[count] = last;
    sift_down(heap, count, 0, largest);
  }
}

}  // namespace

void cumsum(const View& x, int64_t axis, bool reverse, View& y) {
  const ScanLines lines = checked_cumsum(x, axis, y);
  dispatch_all(x.dtype, [&]<class T>() {
    using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
    parallel_for(lines.count(), grain_of(lines), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t first = lines.start(line, lines.n);
        Sum sum = 0;
        for (int64_t i = 0; i < lines.n; ++i) {
          const int64_t at = first + (reverse ? lines.n - 1 - i : i) * lines.inner;
          sum += convert<Sum>(x.as<T>()[at]);
          y.as<T>()[at] = convert<T>(sum);
        }
      }
    });
  });
}

void arg_extreme(const View& x, int64_t axis, bool largest, View& y) {
  const ScanLines lines = checked_arg_extreme(x, axis, y);
  dispatch_all(x.dtype, [&]<class T>() {
    parallel_for(lines.count(), grain_of(lines), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const T* from = x.as<T>() + lines.start(line, lines.n);
        auto best = comparable(from[0]);
        int64_t index = 0;
        for (int64_t i = 1; i < lines.n; ++i) {
          const auto value = comparable(from[i * lines.inner]);
          if (precedes(value, best, largest)) best = value, index = i;
        }
        y.as<int64_t>()[line] = index;
      }
    });
  });
}

void topk_forward(const View& x, int64_t axis, bool largest, View& values, View& indices) {
  const ScanLines lines = checked_topk(x, axis, values, indices);
  const int64_t k = values.dim(static_cast<int>(axis));
  if (k == 0) return;
  dispatch_all(x.dtype, [&]<class T>() {
    using A = decltype(comparable(T{}));
    parallel_for(lines.count(), grain_of(lines), [&](int64_t begin, int64_t end) {
      Candidate<A>* best = scratch<Candidate<A>>(0, k);
      for (int64_t line = begin; line < end; ++line) {
        const T* from = x.as<T>() + lines.start(line, lines.n);
        best_of(from, lines.n, lines.inner, k, largest, best);
        const int64_t to = lines.start(line, k);
        for (int64_t i = 0; i < k; ++i) {
          values.as<T>()[to + i * lines.inner] = from[best[i].index * lines.inner];
          indices.as<int64_t>()[to + i * lines.inner] = best[i].index;
        }
      }
    });
  });
}

void topk_backward(const View& indices, const View& dy, int64_t axis, View& dx) {
  const ScanLines lines = checked_topk_backward(indices, dy, axis, dx);
  const int64_t k = dy.dim(static_cast<int>(axis));
  dispatch_floating(dx.dtype, "topK", [&]<class T>() {
    parallel_for(lines.count(), grain_of(lines), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        T* to = dx.as<T>() + lines.start(line, lines.n);
        for (int64_t i = 0; i < lines.n; ++i) to[i * lines.inner] = convert<T>(0.0f);
        const int64_t from = lines.start(line, k);
        for (int64_t i = 0; i < k; ++i) {
          const int64_t index = indices.as<int64_t>()[from + i * lines.inner];
          if (index < 0 || index >= lines.n)
            fail(ErrorCode::index_out_of_range, "topK: index ", index, " outside [0, ", lines.n,
                 ")");
          T& target = to[index * lines.inner];
          target = convert<T>(to_float(target) + to_float(dy.as<T>()[from + i * lines.inner]));
        }
      }
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
