#include "ops/reduce.h"

#include <algorithm>
#include <limits>

#include "cpu/ahead.h"
#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// The dims of x with neighbours of one kind merged. A reduction walks rows where the innermost run
// is summed up, and columns where it is kept.
struct Plan {
  Shape kept, kept_stride, reduced, reduced_stride;  // strides in elements of x
  bool columns = false;
  int64_t outputs = 1, count = 1;  // elements of y; elements of x per element of y

  Plan(const char* op, const View& x, const Shape& axes, const View& y) {
    const ReducedAxes is_reduced = reduced_axes(op, x, axes, y);
    const Shape& shape = x.shape;
    int64_t stride = shape.numel();
    int previous = -1;  // kind of the last dim taken: 0 kept, 1 reduced
    for (int i = 0; i < shape.rank(); ++i) {
      const int64_t extent = shape[i];
      (is_reduced[i] ? count : outputs) *= extent;
      if (stride == 0) continue;  // no elements: nothing will be walked
      stride /= extent;
      if (extent == 1) continue;
      Shape& dims = is_reduced[i] ? reduced : kept;
      Shape& strides = is_reduced[i] ? reduced_stride : kept_stride;
      if (previous == static_cast<int>(is_reduced[i])) {
        dims[dims.rank() - 1] *= extent;
        strides[dims.rank() - 1] = stride;
      } else {
        dims.push_back(extent);
        strides.push_back(stride);
      }
      previous = is_reduced[i];
    }
    columns = previous != 1;
    // Whatever remains, both lists end in a run to walk.
    if (reduced.rank() == 0) reduced.push_back(1), reduced_stride.push_back(0);
    if (kept.rank() == 0) kept.push_back(1), kept_stride.push_back(0);
  }
};

// Offset of the index-th combination of the first `rank` dims.
EMULSION_INLINE int64_t offset_of(int64_t index, const Shape& dims, const Shape& strides,
                                  int rank) {
  int64_t offset = 0;
  for (int i = rank - 1; i >= 0; --i) {
    offset += index % dims[i] * strides[i];
    index /= dims[i];
  }
  return offset;
}

// A reduction: the vector it computes in for a stored type, the dtype it results in, its value over
// no elements, what an element contributes and how two partial results join (vectors and single
// values).
struct Sum {
  template <class T>
  using Vector = std::conditional_t<std::is_integral_v<T>, Int<int64_t>, Vec<double>>;
  template <class T>
  using Result = std::conditional_t<std::is_integral_v<T>, int64_t, T>;
  template <class A>
  static constexpr A identity = A(0);

  template <class V>
  EMULSION_INLINE static V map(V x) {
    return x;
  }
  template <class V>
  EMULSION_INLINE static V join(V a, V b) {
    return a + b;
  }
};

struct SumOfSquares : Sum {
  template <class V>
  EMULSION_INLINE static V map(V x) {
    return x * x;
  }
};

struct Product : Sum {
  template <class A>
  static constexpr A identity = A(1);

  template <class V>
  EMULSION_INLINE static V join(V a, V b) {
    return a * b;
  }
};

template <class A>
constexpr A lowest = std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                          : std::numeric_limits<A>::min();
template <class A>
constexpr A highest = std::numeric_limits<A>::has_infinity ? std::numeric_limits<A>::infinity()
                                                           : std::numeric_limits<A>::max();

struct Maximum {
  template <class T>
  using Vector = Number<T>;
  template <class T>
  using Result = T;
  template <class A>
  static constexpr A identity = lowest<A>;

  template <class V>
  EMULSION_INLINE static V map(V x) {
    return x;
  }
  // A NaN in b wins because no comparison with it holds; one in a is asked for.
  template <class V>
  EMULSION_INLINE static V join(V a, V b) {
    return select(a == a, select(a > b, a, b), a);
  }
};

struct Minimum : Maximum {
  template <class A>
  static constexpr A identity = highest<A>;

  template <class V>
  EMULSION_INLINE static V join(V a, V b) {
    return select(a == a, select(a < b, a, b), a);
  }
};

// Truth values are 0 and 1, so that "some" is their maximum and "every" their minimum.
struct Any : Maximum {
  template <class T>
  using Vector = Int<uint8_t>;
  template <class T>
  using Result = bool;
  template <class A>
  static constexpr A identity = A(0);
};

struct All : Minimum {
  template <class T>
  using Vector = Int<uint8_t>;
  template <class T>
  using Result = bool;
  template <class A>
  static constexpr A identity = A(1);
};

template <class R, class T>
struct Reduction {
  using V = typename R::template Vector<T>;
  using Result = typename R::template Result<T>;
  using A = std::remove_cvref_t<decltype(V{}[0])>;

  static constexpr A identity = R::template identity<A>;
  static constexpr int64_t column_block = 512;  // accumulators of a task: on its stack
  static constexpr int64_t narrow_block = 64;   // a walk's registers full
  static constexpr int64_t row_tile = 32;  // rows that add to a register before it returns there
  static constexpr int64_t rows_ahead = 16;
  static constexpr int64_t chunk = 65536;  // elements of a partial result, whatever the threads

  // Floats widen to doubles in registers; the general load would convert lane by lane.
  EMULSION_INLINE static V take(const T* from) {
    if constexpr (__is_same(Result, bool)) {
      return V(convert<bool>(*from));
    } else if constexpr (__is_same(V, Vec<double>) && __is_same(T, float)) {
      typedef float Narrow __attribute__((vector_size(vector_bytes / 2)));
      Narrow narrow;
      std::memcpy(&narrow, from, sizeof(narrow));
      return V(__builtin_convertvector(narrow, typename V::Native));
    } else {
      return V::load(from);
    }
  }

  // The rest of a row, filled up with what changes nothing.
  EMULSION_INLINE static V take_rest(const T* from, int64_t count) {
    T padded[V::size];
    for (int i = 0; i < V::size; ++i) padded[i] = i < count ? from[i] : convert<T>(identity);
    return take(padded);
  }

  EMULSION_INLINE static void add(V& sum, V x) { sum = R::join(sum, R::map(x)); }

  // Reduces the flat reduced indices [from, to): four accumulators hide the adder's latency. An
  // integer has one, which the compiler turns into vectors: GCC 12.2 miscompiles its vectors of
  // four (it drops all but a part of the elements).
  static A row(const T* x, const Plan& plan, int64_t from, int64_t to) {
    constexpr int unroll = V::size == 1 ? 1 : 4;
    V sums[unroll];
    for (V& sum : sums) sum = V(identity);
    const int last = plan.reduced.rank() - 1;
    const int64_t run = plan.reduced[last];
    for (int64_t r = from; r < to;) {
      const int64_t begin = r % run, end = std::min(run, begin + to - r);
      const T* line = x + offset_of(r / run, plan.reduced, plan.reduced_stride, last);
      int64_t i = begin;
      for (; i + unroll * V::size <= end; i += unroll * V::size)
        for (int k = 0; k < unroll; ++k) add(sums[k], take(line + i + k * V::size));
      for (; i + V::size <= end; i += V::size) add(sums[0], take(line + i));
      if (i < end) add(sums[0], take_rest(line + i, end - i));
      r += end - begin;
    }
    V joined = sums[0];
    if constexpr (unroll == 4)
      joined = R::join(R::join(sums[0], sums[1]), R::join(sums[2], sums[3]));
    A result = joined[0];
    for (int i = 1; i < V::size; ++i) result = R::join(result, joined[i]);
    return result;
  }

  // sums[0..width) joined with `count` rows that lie `stride` apart, which no processor follows:
  // they are asked for before.
  template <int vectors>
  EMULSION_INLINE static void columns_of(const T* x, int64_t stride, int64_t count, A* sums) {
    V block[vectors];
    for (int k = 0; k < vectors; ++k) block[k] = V::load(sums + k * V::size);
    for (int64_t r = 0; r < count; ++r) {
      prefetch_run(x + (r + rows_ahead) * stride, vectors * V::size);
      for (int k = 0; k < vectors; ++k) add(block[k], take(x + r * stride + k * V::size));
    }
    for (int k = 0; k < vectors; ++k) block[k].store(sums + k * V::size);
  }

  // Reduces the flat reduced indices [from, to) of `width` neighbouring columns.
  static void columns(const T* x, const Plan& plan, int64_t from, int64_t to, int64_t width,
                      A* sums) {
    for (int64_t c = 0; c < width; ++c) sums[c] = identity;
    const int last = plan.reduced.rank() - 1;
    const int64_t run = plan.reduced[last], stride = plan.reduced_stride[last];
    for (int64_t r = from; r < to;) {
      const int64_t begin = r % run, count = std::min({row_tile, run - begin, to - r});
      const T* line =
          x + offset_of(r / run, plan.reduced, plan.reduced_stride, last) + begin * stride;
      int64_t c = 0;
      for (; c + 8 * V::size <= width; c += 8 * V::size)
        columns_of<8>(line + c, stride, count, sums + c);
      for (; c + 2 * V::size <= width; c += 2 * V::size)
        columns_of<2>(line + c, stride, count, sums + c);
      for (; c + V::size <= width; c += V::size) columns_of<1>(line + c, stride, count, sums + c);
      for (; c < width; ++c)
        for (int64_t i = 0; i < count; ++i)
          sums[c] = R::join(sums[c], R::map(take_rest(line + c + i * stride, 1)[0]));
      r += count;
    }
  }

  EMULSION_INLINE static Result finish(A value, double divisor) {
    if constexpr (__is_same(A, double))
      return convert<Result>(value / divisor);
    else
      return convert<Result>(value);
  }

  static void run(const T* x, const Plan& plan, double divisor, Result* y) {
    const int last = plan.kept.rank() - 1;
    // Tasks are [kept indices before the last run, blocks of it, chunks of the reduced indices].
    const int64_t run = plan.kept[last];
    const int64_t widest = plan.columns ? std::min(run, column_block) : 1;
    const int64_t rows = plan.columns ? std::max<int64_t>(1024, chunk / widest) : chunk;
    // What is not cut into chunks is shared by columns, whose results do not depend on each other.
    const int64_t block = plan.count > rows ? widest : std::min(widest, narrow_block);
    const int64_t blocks = (run + block - 1) / block;
    const int64_t chunks = std::max<int64_t>(1, (plan.count + rows - 1) / rows);
    const int64_t outers = plan.outputs / run;
    A* partials = chunks > 1 ? scratch<A>(0, chunks * plan.outputs) : nullptr;  // [chunks, outputs]

    const int64_t work = std::min(rows, plan.count) * block + 1;
    parallel_for(outers * blocks * chunks, stream_grain / work, [&](int64_t begin, int64_t end) {
      A sums[column_block];
      for (int64_t task = begin; task < end; ++task) {
        const int64_t c = task % chunks, first = task / chunks % blocks * block,
                      outer = task / chunks / blocks;
        const int64_t from = c * rows, to = std::min(plan.count, from + rows);
        const int64_t width = std::min(block, run - first), output = outer * run + first;
        const T* start = x + offset_of(outer, plan.kept, plan.kept_stride, last) +
                         first * plan.kept_stride[last];
        if (plan.columns)
          columns(start, plan, from, to, width, sums);
        else
          sums[0] = row(start, plan, from, to);
        for (int64_t i = 0; i < width; ++i)
          if (partials)
            partials[c * plan.outputs + output + i] = sums[i];
          else
            y[output + i] = finish(sums[i], divisor);
      }
    });
    if (!partials) return;
    parallel_for(plan.outputs, stream_grain / chunks, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        A result = partials[k];
        for (int64_t c = 1; c < chunks; ++c)
          result = R::join(result, partials[c * plan.outputs + k]);
        y[k] = finish(result, divisor);
      }
    });
  }
};

template <class R, class T>
void run(const View& x, const Plan& plan, double divisor, View& y) {
  using Result = typename R::template Result<T>;
  if (plan.outputs > 0) Reduction<R, T>::run(x.as<T>(), plan, divisor, y.as<Result>());
}

template <class R>
void reduce_numbers(const char* op, const View& x, const Shape& axes, View& y) {
  const Plan plan(op, x, axes, y);
  check_sum_dtype(op, x, y);
  dispatch_all(x.dtype, [&]<class T>() { run<R, T>(x, plan, 1, y); });
}

template <class R>
void reduce_extremes(const char* op, const View& x, const Shape& axes, View& y) {
  const Plan plan(op, x, axes, y);
  check_kept_dtype(op, x, y);
  dispatch_all(x.dtype, [&]<class T>() { run<R, T>(x, plan, 1, y); });
}

template <class R>
void reduce_truth(const char* op, const View& x, const Shape& axes, View& y) {
  const Plan plan(op, x, axes, y);
  check_truth_dtype(op, y);
  dispatch_all(x.dtype, [&]<class T>() { run<R, T>(x, plan, 1, y); });
}

}  // namespace

void reduce_sum(const View& x, const Shape& axes, View& y) {
  reduce_numbers<Sum>("sum", x, axes, y);
}
void reduce_prod(const View& x, const Shape& axes, View& y) {
  reduce_numbers<Product>("prod", x, axes, y);
}
void reduce_square(const View& x, const Shape& axes, View& y) {
  reduce_numbers<SumOfSquares>("norm", x, axes, y);
}
void reduce_max(const View& x, const Shape& axes, View& y) {
  reduce_extremes<Maximum>("max", x, axes, y);
}
void reduce_min(const View& x, const Shape& axes, View& y) {
  reduce_extremes<Minimum>("min", x, axes, y);
}
void reduce_any(const View& x, const Shape& axes, View& y) { reduce_truth<Any>("any", x, axes, y); }
void reduce_all(const View& x, const Shape& axes, View& y) { reduce_truth<All>("all", x, axes, y); }

void reduce_mean(const View& x, const Shape& axes, View& y) {
  const Plan plan("mean", x, axes, y);
  check_kept_dtype("mean", x, y);
  const double count = static_cast<double>(plan.count);
  dispatch_floating(x.dtype, "mean", [&]<class T>() { run<Sum, T>(x, plan, count, y); });
}

void sum_to(const View& x, View& y) {
  const Plan plan("sum_to", x, broadcast_axes(x, y), y);
  dispatch_floating(x.dtype, "sum_to", [&]<class T>() { run<Sum, T>(x, plan, 1, y); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
