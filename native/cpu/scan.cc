#include "ops/scan.h"

#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// x as [outer, n, inner] around an axis. A line is what runs along the axis, `inner` apart.
struct Lines {
  int64_t outer, n, inner;

  Lines(const char* op, const View& x, int64_t axis) {
    EMULSION_CHECK(x, op, ": x is missing");
    EMULSION_CHECK(axis >= 0 && axis < x.rank(), op, ": axis ", axis, " does not exist in shape ",
                   x.shape);
    outer = x.shape.product(0, static_cast<int>(axis));
    n = x.dim(static_cast<int>(axis));
    inner = x.shape.product(static_cast<int>(axis) + 1, x.rank());
  }

  int64_t count() const { return outer * inner; }
  int64_t grain() const { return 8192 / (n + 1); }
  // First element of a line in a tensor whose axis has the given extent.
  int64_t start(int64_t line, int64_t extent) const {
    return line / inner * extent * inner + line % inner;
  }
};

void check_lines(const char* op, const View& other, const char* name, const Lines& lines,
                 int64_t extent) {
  EMULSION_CHECK(other && other.numel() == lines.count() * extent, op, ": ", name, ' ', other.shape,
                 " must have ", lines.count() * extent, " elements");
}

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
  const Lines lines("cumsum", x, axis);
  EMULSION_CHECK(y && y.dtype == x.dtype && y.shape == x.shape && x.dtype != DType::boolean,
                 "cumsum: y must have x's shape and dtype, which is not bool");
  dispatch_all(x.dtype, [&]<class T>() {
    using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
    parallel_for(lines.count(), lines.grain(), [&](int64_t begin, int64_t end) {
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
  const Lines lines("argmax/argmin", x, axis);
  EMULSION_CHECK(lines.n > 0 || lines.count() == 0, "argmax/argmin: axis ", axis, " of ", x.shape,
                 " is empty");
  check_lines("argmax/argmin", y, "y", lines, 1);
  EMULSION_CHECK(y.dtype == DType::int64, "argmax/argmin: y must be int64");
  dispatch_all(x.dtype, [&]<class T>() {
    parallel_for(lines.count(), lines.grain(), [&](int64_t begin, int64_t end) {
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
  const Lines lines("topK", x, axis);
  EMULSION_CHECK(values && values.rank() == x.rank() && values.dtype == x.dtype,
                 "topK: values must be like x");
  const int64_t k = values.dim(static_cast<int>(axis));
  EMULSION_CHECK(k <= lines.n, "topK: k (", k, ") exceeds the axis' extent (", lines.n, ")");
  check_lines("topK", values, "values", lines, k);
  check_lines("topK", indices, "indices", lines, k);
  EMULSION_CHECK(indices.dtype == DType::int64, "topK: indices must be int64");
  if (k == 0) return;
  dispatch_all(x.dtype, [&]<class T>() {
    using A = decltype(comparable(T{}));
    parallel_for(lines.count(), lines.grain(), [&](int64_t begin, int64_t end) {
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
  const Lines lines("topK", dx, axis);
  EMULSION_CHECK(indices && dy && indices.dtype == DType::int64 && dy.dtype == dx.dtype &&
                     indices.shape == dy.shape && dy.rank() == dx.rank(),
                 "topK: dy must have dx's dtype and rank and the indices' shape");
  const int64_t k = dy.dim(static_cast<int>(axis));
  check_lines("topK", dy, "dy", lines, k);
  dispatch_floating(dx.dtype, "topK", [&]<class T>() {
    parallel_for(lines.count(), lines.grain(), [&](int64_t begin, int64_t end) {
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
