// Indexing along one axis. Bandwidth is the roof, as far as the indices allow.
//
// gather: a thread per element of y. index_select and index_add: the kernels of slices.cu.
// scatter_add: with few entries along the axis a thread per element of y looks through them, so
// that y is written once; with many, a warp per line takes 32 at a time and the first lane of those
// that meet adds all of them, in order. Lines share no element, so no two warps do. 16-bit types
// are summed in a float32 copy.
#include "ops/indexing.h"

#include <cstring>

#include "cuda/slices.h"
#include "cuda/walk.cuh"
#include "ops/cast.h"

namespace emulsion::cuda {
namespace {

// In elements, of a dense tensor.
Shape strides_of(const Shape& shape) {
  Shape strides = shape;
  for (int k = 0; k < shape.rank(); ++k) strides[k] = shape.product(k + 1, shape.rank());
  return strides;
}

// ---- gather

// walk: from index's coordinates to x, the indexed axis standing still.
template <class T, class Id, bool wide>
__global__ void gather_kernel(const T* x, const Id* index, T* y, int64_t count, Walk<wide> walk,
                              int64_t extent, int64_t step) {
  stream(
      count,
      [&](int64_t i) {
        const int64_t id = index[i];
        return id >= 0 && id < extent ? x[walk.offset(i) + id * step] : T{};
      },
      [&](int64_t i, T value) { y[i] = value; });
}

// ---- scatter_add

constexpr int64_t few = 16;

// From y's coordinates to the line of index that adds to them.
template <bool wide>
struct LineWalk {
  int rank, axis;
  Extent<wide> extents[Shape::max_rank];                    // of y
  int64_t held[Shape::max_rank], strides[Shape::max_rank];  // of index

  LineWalk(const Shape& y, const Shape& index, int along) : rank(y.rank()), axis(along) {
    const Shape dense = strides_of(index);
    for (int k = 0; k < rank; ++k) {
      extents[k] = Extent<wide>(y[k]);
      held[k] = index[k];
      strides[k] = dense[k];
    }
  }
};

template <class T, class Id, bool wide>
__global__ void scatter_few(const T* x, const Id* index, const T* src, T* y, int64_t size,
                            LineWalk<wide> walk) {
  const int64_t count = walk.held[walk.axis], step = walk.strides[walk.axis];
  for (int64_t i = grid_thread(); i < size; i += grid_threads()) {
    auto rest = static_cast<Index<wide>>(i);
    int64_t line = 0, element = 0;
    bool inside = true;
    for (int k = walk.rank - 1; k >= 0; --k) {
      Index<wide> at;
      rest = walk.extents[k](rest, at);
      if (k == walk.axis) {
        element = at;
      } else {
        inside = inside && at < walk.held[k];
        line += at * walk.strides[k];
      }
    }
    float total = x ? widen(x[i]) : 0.0f;
    for (int64_t k = 0; inside && k < count; ++k)
      if (static_cast<int64_t>(index[line + k * step]) == element)
        total += widen(src[line + k * step]);
    y[i] = narrow<T>(total);
  }
}

// Where lines of index begin, in index and in the sums: both strides of the axes but the indexed.
struct Lines {
  int64_t lines;
  int rank = 0;
  int64_t extents[Shape::max_rank], index[Shape::max_rank], sums[Shape::max_rank];

  Lines(const Shape& index_shape, const Shape& y, int axis)
      : lines(index_shape.numel() / index_shape[axis]) {
    const Shape index_strides = strides_of(index_shape), y_strides = strides_of(y);
    for (int k = 0; k < y.rank(); ++k) {
      if (k == axis) continue;
      extents[rank] = index_shape[k];
      index[rank] = index_strides[k];
      sums[rank++] = y_strides[k];
    }
  }
};

template <class T, class Id>
__global__ void scatter_lines(const Id* index, const T* src, float* sums, Lines lines,
                              int64_t count, int64_t index_step, int64_t extent,
                              int64_t sums_step) {
  const int64_t warps = grid_threads() / 32;
  for (int64_t line = grid_thread() / 32; line < lines.lines; line += warps) {
    int64_t from = 0, to = 0, rest = line;
    for (int k = lines.rank - 1; k >= 0; --k) {
      const int64_t above = rest / lines.extents[k], at = rest - above * lines.extents[k];
      from += at * lines.index[k];
      to += at * lines.sums[k];
      rest = above;
    }
    for (int64_t begin = 0; begin < count; begin += 32) {
      const int64_t i = begin + lane_index();
      int64_t id = -1;
      float value = 0.0f, total = 0.0f;
      if (i < count) {
        id = index[from + i * index_step];
        value = widen(src[from + i * index_step]);
        if (id < 0 || id >= extent) id = -1;
      }
      if (id >= 0) total = sums[to + id * sums_step];
      bool leads = id >= 0;
      for (int lane = 0; lane < 32; ++lane) {
        const int64_t other = __shfl_sync(whole_warp, id, lane);
        const float added = __shfl_sync(whole_warp, value, lane);
        if (other != id) continue;
        if (lane < lane_index()) leads = false;
        if (lane >= lane_index()) total += added;
      }
      if (leads) sums[to + id * sums_step] = total;
      __syncwarp();
    }
  }
}

// y = x or zeros, as float32.
void start_sums(const View& x, View& sums) {
  if (x.present)
    cast(x, sums);
  else
    fill(0, sums);
}

template <class T>
void scatter_many(const View& x, const View& index, const View& src, int axis, View& y) {
  const bool narrowed = sizeof(T) < sizeof(float);
  const Workspace copy(narrowed ? y.numel() * static_cast<int64_t>(sizeof(float)) : 1);
  View sums = y;
  sums.dtype = DType::float32;
  if (narrowed) sums.data = copy.as<void>();
  start_sums(x, sums);
  const Lines lines(index.shape, y.shape, axis);
  const int64_t index_step = strides_of(index.shape)[axis], y_step = strides_of(y.shape)[axis];
  dispatch_index(index.dtype, [&]<class Id>() {
    launch("scatter_add", scatter_lines<T, Id>, stream_grid(lines.lines * 32), index.as<Id>(),
           src.as<T>(), sums.as<float>(), lines, index.dim(axis), index_step, y.dim(axis), y_step);
  });
  if (narrowed) cast(sums, y);
}

// ---- one_hot

// A thread makes a pack of y, which may hold the ends of several rows.
template <class T, class Id, int width, bool wide>
__global__ void one_hot_kernel(const Id* ids, T* y, int64_t size, Extent<wide> classes,
                               int64_t extent, T one) {
  for (int64_t i = grid_thread() * width; i < size; i += grid_threads() * width) {
    Index<wide> column;
    int64_t row = classes(static_cast<Index<wide>>(i), column);
    int64_t at = column, id = ids[row];
    Pack<T, width> pack;
#pragma unroll
    for (int e = 0; e < width; ++e) {
      if (at == extent && i + e < size) {
        at = 0;
        id = ids[++row];
      }
      pack.values[e] = at++ == id ? one : T(0);
    }
    if (i + width <= size) {
      store_pack(y + i, pack);
      continue;
    }
#pragma unroll
    for (int e = 0; e < width; ++e)
      if (i + e < size) y[i + e] = pack.values[e];
  }
}

template <class T, class Id, int width, bool wide>
void write_one_hot(const View& ids, T one, View& y) {
  const int64_t size = y.numel(), classes = y.dim(-1);
  launch("one_hot", one_hot_kernel<T, Id, width, wide>, stream_grid(ceil_div(size, width)),
         ids.as<Id>(), y.as<T>(), size, Extent<wide>(classes), classes, one);
}

}  // namespace

void gather_forward(const View& x, const View& index, int64_t axis, View& y) {
  const int along = checked_gather(x, index, axis, y);
  check_indices("gather", index, x.dim(along));
  if (y.numel() == 0) return;
  const Shape strides = strides_of(x.shape);
  Axes axes;
  for (int k = 0; k < x.rank(); ++k) axes.add(index.dim(k), k == along ? 0 : strides[k]);
  const int64_t count = y.numel();
  dispatch_width(x.dtype, [&]<class T>() {
    dispatch_index(index.dtype, [&]<class Id>() {
      dispatch_wide(count, [&]<bool wide>() {
        launch("gather", gather_kernel<T, Id, wide>, batched_grid(count), x.as<T>(), index.as<Id>(),
               y.as<T>(), count, Walk<wide>(axes), x.dim(along), strides[along]);
      });
    });
  });
}

void scatter_add_forward(const View& x, const View& index, const View& src, int64_t axis, View& y) {
  const int along = checked_scatter_add(x, index, src, axis, y);
  check_indices("scatter_add", index, y.dim(along));
  if (y.numel() == 0) return;
  const int64_t size = y.numel();
  dispatch_float(y.dtype, "scatter_add", [&]<class T>() {
    if (index.numel() == 0 || index.dim(along) <= few)
      return dispatch_index(index.dtype, [&]<class Id>() {
        dispatch_wide(size, [&]<bool wide>() {
          launch("scatter_add", scatter_few<T, Id, wide>, stream_grid(size),
                 x.present ? x.as<T>() : nullptr, index.as<Id>(), src.as<T>(), y.as<T>(), size,
                 LineWalk<wide>(y.shape, index.shape, along));
        });
      });
    if (size == y.dim(along)) return add_slices("scatter_add", x, index, src, 1, size, 1, y);
    scatter_many<T>(x, index, src, along, y);
  });
}

void index_select_forward(const View& x, const View& ids, int64_t axis, View& y) {
  const int along = checked_index_select(x, ids, axis, y);
  check_indices("index_select", ids, x.dim(along));
  select_slices("index_select", x, ids, x.shape.product(0, along), x.dim(along),
                x.shape.product(along + 1, x.rank()), y);
}

void index_add_forward(const View& x, const View& ids, const View& src, int64_t axis, View& y) {
  const int along = checked_index_add(x, ids, src, axis, y);
  check_indices("index_add", ids, y.dim(along));
  add_slices("index_add", x, ids, src, y.shape.product(0, along), y.dim(along),
             y.shape.product(along + 1, y.rank()), y);
}

void one_hot_forward(const View& ids, View& y) {
  check_one_hot(ids, y);
  check_indices("one_hot", ids, y.dim(-1));
  if (y.numel() == 0) return;
  unsigned long long pattern = 0;
  dispatch_all(y.dtype, [&]<class T>() {
    const T one = convert<T>(1.0f);
    std::memcpy(&pattern, &one, sizeof(T));
  });
  dispatch_width(y.dtype, [&]<class T>() {
    const auto one = static_cast<T>(pattern);
    dispatch_index(ids.dtype, [&]<class Id>() {
      constexpr int width = 16 / sizeof(T);
      if (is_wide(y.numel()) || !vectors(y.data)) return write_one_hot<T, Id, 1, true>(ids, one, y);
      write_one_hot<T, Id, width, false>(ids, one, y);
    });
  });
}

}  // namespace emulsion::cuda
