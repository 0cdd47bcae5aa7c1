// Reductions over any set of axes, and sum_to.
//
// Bandwidth is the roof: x is read once, in packs of 16 bytes where extents and pointers allow, and
// results are few. reduce_kernels.cuh has the loops; here stand what the reductions compute and how
// a shape is laid out over a grid, which never depends on the device.
//
// Sums and squares of floats share a kernel, as do maximum, minimum, some and every (a minimum is a
// maximum of flipped signs, truth is 0 and 1), and all reductions of integers: the choice is the
// same for all threads and costs less than a kernel of its own. Products run in float64, whose
// range their intermediate values need; no other float reduction does.
#include "ops/reduce.h"

#include <algorithm>
#include <limits>

#include "cuda/host.h"
#include "cuda/reduce_kernels.cuh"

namespace emulsion::cuda {
namespace {

enum class Kind { sum, square, product, maximum, minimum, any, all };

template <class T, int width>
__device__ __forceinline__ void store_floats(void* y, int64_t at, const float* values,
                                             bool packed) {
  T* to = static_cast<T*>(y) + at;
  Pack<T, width> pack;
#pragma unroll
  for (int k = 0; k < width; ++k) pack.values[k] = narrow<T>(values[k]);
  if (packed)
    store_pack(to, pack);
  else
    for (int k = 0; k < width; ++k) to[k] = pack.values[k];
}

template <class T>
struct Total {
  using Value = float;
  bool square;
  float divisor;

  Total(Kind kind, double divisor)
      : square(kind == Kind::square), divisor(static_cast<float>(divisor)) {}

  __device__ __forceinline__ float identity() const { return 0.0f; }
  __device__ __forceinline__ float map(T x) const {
    const float value = widen(x);
    return value * (square ? value : 1.0f);
  }
  __device__ __forceinline__ float join(float a, float b) const { return a + b; }
  template <int width>
  __device__ __forceinline__ void store(void* y, int64_t at, float* values, bool packed) const {
    for (int k = 0; k < width; ++k) values[k] /= divisor;
    store_floats<T, width>(y, at, values, packed);
  }
};

template <class T>
struct Product {
  using Value = double;

  __device__ __forceinline__ double identity() const { return 1.0; }
  __device__ __forceinline__ double map(T x) const { return static_cast<double>(widen(x)); }
  __device__ __forceinline__ double join(double a, double b) const { return a * b; }
  template <int width>
  __device__ __forceinline__ void store(void* y, int64_t at, double* values, bool) const {
    for (int k = 0; k < width; ++k)
      static_cast<T*>(y)[at + k] = narrow<T>(static_cast<float>(values[k]));
  }
};

template <class T>
struct Extreme {
  using Value = float;
  bool truth;
  float sign;  // -1 turns a maximum into a minimum

  explicit Extreme(Kind kind)
      : truth(kind == Kind::any || kind == Kind::all),
        sign(kind == Kind::minimum || kind == Kind::all ? -1.0f : 1.0f) {}

  __device__ __forceinline__ float identity() const {
    return -std::numeric_limits<float>::infinity();
  }
  __device__ __forceinline__ float map(T x) const {
    const float value = widen(x);
    return sign * (truth ? static_cast<float>(value != 0.0f) : value);
  }
  __device__ __forceinline__ float join(float a, float b) const { return Largest()(a, b); }
  template <int width>
  __device__ __forceinline__ void store(void* y, int64_t at, float* values, bool packed) const {
    for (int k = 0; k < width; ++k) values[k] *= sign;
    if (truth)
      for (int k = 0; k < width; ++k) static_cast<bool*>(y)[at + k] = values[k] > 0.0f;
    else
      store_floats<T, width>(y, at, values, packed);
  }
};

// Integers and bool, all in int64.
template <class T>
struct Whole {
  using Value = long long;
  Kind kind;
  long long start;

  // Over nothing a maximum is the least value of the dtype.
  Whole(Kind kind, bool is_bool) : kind(kind), start(0) {
    if (kind == Kind::product || kind == Kind::all) start = 1;
    if (kind == Kind::maximum) start = std::numeric_limits<T>::min();
    if (kind == Kind::minimum) start = is_bool ? 1 : std::numeric_limits<T>::max();
  }

  __device__ __forceinline__ long long identity() const { return start; }
  __device__ __forceinline__ long long map(T x) const {
    const auto value = static_cast<unsigned long long>(static_cast<long long>(x));
    switch (kind) {
      case Kind::square: return static_cast<long long>(value * value);
      case Kind::any:
      case Kind::all: return value != 0;
      default: return static_cast<long long>(value);
    }
  }
  // Unsigned arithmetic: an overflow wraps.
  __device__ __forceinline__ long long join(long long a, long long b) const {
    const auto left = static_cast<unsigned long long>(a),
               right = static_cast<unsigned long long>(b);
    switch (kind) {
      case Kind::sum:
      case Kind::square: return static_cast<long long>(left + right);
      case Kind::product: return static_cast<long long>(left * right);
      case Kind::maximum:
      case Kind::any: return a > b ? a : b;
      default: return a < b ? a : b;
    }
  }
  template <int width>
  __device__ __forceinline__ void store(void* y, int64_t at, long long* values, bool) const {
    for (int k = 0; k < width; ++k) switch (kind) {
        case Kind::maximum:
        case Kind::minimum: static_cast<T*>(y)[at + k] = static_cast<T>(values[k]); break;
        case Kind::any:
        case Kind::all: static_cast<bool*>(y)[at + k] = values[k] != 0; break;
        default: static_cast<long long*>(y)[at + k] = values[k];
      }
  }
};

// ---- from a shape to a grid

// The axes of x with neighbours of one kind merged.
struct Plan {
  ReduceAxes kept, reduced;
  bool columns = true;             // the innermost run is kept
  int64_t outputs = 1, count = 1;  // elements of y; elements of x per element of y

  Plan(const char* op, const View& x, const Shape& axes, const View& y) {
    const ReducedAxes is_reduced = reduced_axes(op, x, axes, y);
    int64_t stride = x.numel();
    const bool empty = stride == 0;
    ReduceAxes* last = nullptr;
    for (int d = 0; d < x.rank(); ++d) {
      const int64_t extent = x.dim(d);
      (is_reduced[d] ? count : outputs) *= extent;
      if (extent == 1 || empty) continue;
      stride /= extent;
      ReduceAxes& own = is_reduced[d] ? reduced : kept;
      if (last == &own) {
        own.extents[own.rank - 1] *= extent;
        own.strides[own.rank - 1] = stride;
      } else {
        own.push(extent, stride);
      }
      last = &own;
    }
    columns = last != &reduced;
    if (kept.rank == 0) kept.push(1, 0);
    if (reduced.rank == 0) reduced.push(1, 0);
  }

  // Whether packs of `width` elements never cross a run and always begin at a border.
  bool divides(int width) const {
    const ReduceAxes& inner = columns ? kept : reduced;
    const bool single = !columns && reduced.rank == 1;  // the tail goes element by element
    if (!single && inner.extents[inner.rank - 1] % width) return false;
    if (inner.strides[inner.rank - 1] != 1) return false;
    for (const ReduceAxes* axes : {&kept, &reduced})
      for (int d = 0; d < axes->rank - (axes == &inner); ++d)
        if (axes->extents[d] > 1 && axes->strides[d] % width) return false;
    return true;
  }
};

constexpr int64_t enough_blocks = 1024;
constexpr int64_t longest_run = 1024;  // of an accumulator, in unrolled steps

// Into how many chunks `count` is cut: none shorter than `least`, none longer than `most`, and
// otherwise as many as make enough blocks.
int64_t chunks_of(int64_t count, int64_t least, int64_t most, int64_t blocks) {
  const int64_t wanted = std::min(count / least, enough_blocks / blocks);
  return std::max({int64_t{1}, wanted, ceil_div(count, most)});
}

ReduceColumns lay_columns(const Plan& plan, int width) {
  ReduceColumns columns;
  columns.kept = plan.kept;
  columns.reduced = plan.reduced;
  if (width > 1) {
    columns.kept.extents[plan.kept.rank - 1] /= width;
    columns.kept.strides[plan.kept.rank - 1] = width;
  }
  columns.kept.seal();
  columns.reduced.seal();
  columns.packs = plan.outputs / width;
  columns.count = plan.count;
  const int64_t deep =
      std::clamp<int64_t>(plan.count / reduce_unroll, 1, 8);  // what ty should not fall below
  columns.tiles = static_cast<unsigned>(ceil_div(columns.packs, reduce_threads / deep));
  columns.tx = static_cast<int>(ceil_div(columns.packs, columns.tiles));
  columns.ty = static_cast<int>(
      std::min<int64_t>(reduce_threads / columns.tx, std::max<int64_t>(1, plan.count)));
  const int64_t step = int64_t{columns.ty} * reduce_unroll;
  const int64_t chunks = chunks_of(plan.count, 4 * step, longest_run * step, columns.tiles);
  columns.chunk = std::max<int64_t>(1, ceil_div(plan.count, chunks));
  columns.chunks = std::max<int64_t>(1, ceil_div(plan.count, columns.chunk));
  return columns;
}

ReduceRows lay_rows(const Plan& plan, int width) {
  ReduceRows rows;
  rows.kept = plan.kept;
  rows.reduced = plan.reduced;
  const int last = plan.reduced.rank - 1;
  rows.packs = plan.count / width;
  rows.tail = plan.count - rows.packs * width;
  rows.reduced.extents[last] /= width;
  rows.reduced.strides[last] = width;
  if (last == 0) rows.reduced.extents[0] = std::max<int64_t>(1, rows.reduced.extents[0]);
  rows.kept.seal();
  rows.reduced.seal();
  rows.outputs = plan.outputs;
  rows.group = 1;
  if (rows.packs >= 2 * reduce_threads)
    rows.group = reduce_threads;
  else
    while (rows.group < 32 && rows.group * reduce_unroll < rows.packs) rows.group *= 2;
  rows.chunks = 1;
  const int64_t step = int64_t{reduce_threads} * reduce_unroll;
  if (rows.group == reduce_threads)
    rows.chunks = chunks_of(rows.packs, 2 * step, longest_run * step, plan.outputs);
  rows.chunk = ceil_div(std::max<int64_t>(1, ceil_div(rows.packs, rows.chunks)), step) * step;
  rows.chunks = std::max<int64_t>(1, ceil_div(rows.packs, rows.chunk));
  return rows;
}

template <class R>
void join_partials(const char* op, const R& r, typename R::Value* partials, int64_t outputs,
                   int64_t chunks, View& y) {
  using Value = typename R::Value;
  ReduceColumns columns;
  columns.kept.push(outputs, 1);
  columns.reduced.push(chunks, outputs);
  columns.packs = outputs;
  columns.count = columns.chunk = chunks;
  columns.chunks = 1;
  // Eight neighbours are a sector of memory; more rows at once shorten the way through the chunks.
  columns.tx = static_cast<int>(std::min<int64_t>(outputs, 8));
  columns.ty = static_cast<int>(std::min<int64_t>(reduce_threads / columns.tx, chunks));
  columns.tiles = static_cast<unsigned>(ceil_div(outputs, columns.tx));
  launch(op, reduce_columns<R, Value, 1, true>, Grid{dim3(columns.tiles), dim3(reduce_threads)}, r,
         static_cast<const Value*>(partials), columns,
         ReduceSink<Value>{y.data, nullptr, outputs, false});
}

// Launches `kernel` over a layout of the grid, and the join of the chunks where there are several.
template <class R, class T, class Kernel, class Layout>
void start(const char* op, Kernel kernel, const R& r, const View& x, const Layout& layout,
           int64_t blocks, int64_t outputs, bool packed, View& y) {
  using Value = typename R::Value;
  const Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(reduce_threads)};
  const T* from = x.as<T>();
  if (layout.chunks == 1)
    return launch(op, kernel, grid, r, from, layout,
                  ReduceSink<Value>{y.data, nullptr, outputs, packed});
  const Workspace partials(layout.chunks * outputs * static_cast<int64_t>(sizeof(Value)));
  launch(op, kernel, grid, r, from, layout,
         ReduceSink<Value>{nullptr, partials.as<Value>(), outputs, false});
  join_partials(op, r, partials.as<Value>(), outputs, layout.chunks, y);
}

template <class R, class T, int width>
void run_packs(const char* op, const R& r, const View& x, const Plan& plan, View& y) {
  if (plan.columns) {
    const ReduceColumns columns = lay_columns(plan, width);
    const bool packed = is_aligned(y.data, width * sizeof(T));
    start<R, T>(op, reduce_columns<R, T, width, false>, r, x, columns,
                columns.tiles * columns.chunks, plan.outputs, packed, y);
  } else {
    const ReduceRows rows = lay_rows(plan, width);
    start<R, T>(op, reduce_rows<R, T, width>, r, x, rows,
                ceil_div(rows.outputs * rows.chunks * rows.group, reduce_threads), plan.outputs,
                false, y);
  }
}

template <class R, class T>
void run(const char* op, const R& r, const View& x, const Plan& plan, View& y) {
  // Products, which are rare, go element by element; packs of bytes are shorter than 16 for the
  // eight-byte accumulators that each of their elements has.
  constexpr bool rare = __is_same(typename R::Value, double);
  constexpr int width = rare ? 1 : std::min<int>(16 / sizeof(T), 8);
  if (plan.outputs == 0) return;
  if (is_aligned(x.data, width * sizeof(T)) && plan.divides(width))
    run_packs<R, T, width>(op, r, x, plan, y);
  else
    run_packs<R, T, 1>(op, r, x, plan, y);
}

void run_whole(const char* op, Kind kind, const View& x, const Plan& plan, View& y) {
  switch (x.dtype) {
    case DType::int32: return run<Whole<int32_t>, int32_t>(op, {kind, false}, x, plan, y);
    case DType::int64: return run<Whole<long long>, long long>(op, {kind, false}, x, plan, y);
    default: return run<Whole<uint8_t>, uint8_t>(op, {kind, x.dtype == DType::boolean}, x, plan, y);
  }
}

void run_total(const char* op, Kind kind, const View& x, const Plan& plan, double divisor,
               View& y) {
  dispatch_float(x.dtype, op, [&]<class T>() {
    run<Total<T>, T>(op, {kind, divisor}, x, plan, y);
  });
}

void reduce_numbers(const char* op, Kind kind, const View& x, const Shape& axes, View& y) {
  const Plan plan(op, x, axes, y);
  check_sum_dtype(op, x, y);
  if (!is_floating(x.dtype)) return run_whole(op, kind, x, plan, y);
  if (kind != Kind::product) return run_total(op, kind, x, plan, 1, y);
  dispatch_float(x.dtype, op, [&]<class T>() { run<Product<T>, T>(op, {}, x, plan, y); });
}

void reduce_extremes(const char* op, Kind kind, const View& x, const Shape& axes, View& y) {
  const Plan plan(op, x, axes, y);
  if (kind == Kind::any || kind == Kind::all)
    check_truth_dtype(op, y);
  else
    check_kept_dtype(op, x, y);
  if (!is_floating(x.dtype)) return run_whole(op, kind, x, plan, y);
  dispatch_float(x.dtype, op,
                 [&]<class T>() { run<Extreme<T>, T>(op, Extreme<T>(kind), x, plan, y); });
}

}  // namespace

#define EMULSION_DEFINE_REDUCTION(name, op, reduction, kind) \
  void name(const View& x, const Shape& axes, View& y) { reduction(op, Kind::kind, x, axes, y); }
EMULSION_DEFINE_REDUCTION(reduce_sum, "sum", reduce_numbers, sum)
EMULSION_DEFINE_REDUCTION(reduce_prod, "prod", reduce_numbers, product)
EMULSION_DEFINE_REDUCTION(reduce_square, "norm", reduce_numbers, square)
EMULSION_DEFINE_REDUCTION(reduce_max, "max", reduce_extremes, maximum)
EMULSION_DEFINE_REDUCTION(reduce_min, "min", reduce_extremes, minimum)
EMULSION_DEFINE_REDUCTION(reduce_any, "any", reduce_extremes, any)
EMULSION_DEFINE_REDUCTION(reduce_all, "all", reduce_extremes, all)

void reduce_mean(const View& x, const Shape& axes, View& y) {
  const Plan plan("mean", x, axes, y);
  check_kept_dtype("mean", x, y);
  run_total("mean", Kind::sum, x, plan, static_cast<double>(plan.count), y);
}

void sum_to(const View& x, View& y) {
  run_total("sum_to", Kind::sum, x, Plan("sum_to", x, broadcast_axes(x, y), y), 1, y);
}

}  // namespace emulsion::cuda
