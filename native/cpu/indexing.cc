// Indexing on the CPU. Indices are checked in one pass before any copy. Additions are split over
// everything but the indexed axis, so two threads never meet in one element and the order of the
// sums is that of the indices.
#include "ops/indexing.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/width.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 16384;

EMULSION_INLINE int64_t grain_of(int64_t cost) {
  return cost >= grain_elements ? 1 : grain_elements / (cost + 1) + 1;
}

template <class Body>
EMULSION_INLINE void dispatch_index(DType dtype, Body&& body) {
  if (dtype == DType::int32) return body.template operator()<int32_t>();
  return body.template operator()<int64_t>();
}

void check_indices(const View& index, int64_t extent, const char* op) {
  EMULSION_CHECK(index.present && (index.dtype == DType::int32 || index.dtype == DType::int64), op,
                 ": indices must be int32 or int64, got ", dtype_name(index.dtype));
  dispatch_index(index.dtype, [&]<class I>() {
    const I* values = index.as<I>();
    const int64_t count = index.numel();
    bool outside = false;
    for (int64_t i = 0; i < count; ++i)
      outside |= values[i] < 0 || static_cast<int64_t>(values[i]) >= extent;
    if (!outside) return;
    for (int64_t i = 0; i < count; ++i)
      if (values[i] < 0 || values[i] >= extent)
        fail(ErrorCode::index_out_of_range, op, ": index ", values[i], " at position ", i,
             " is outside 0..", extent - 1);
  });
}

int checked_axis(const View& x, int64_t axis, const char* op) {
  EMULSION_CHECK(x.present && axis >= 0 && axis < x.rank(), op, ": axis ", axis,
                 " is not an axis of ", x.shape);
  return static_cast<int>(axis);
}

// index and x agree in rank; index fits into x on every axis but `axis`.
void check_lines(const View& x, const View& index, int axis, const char* op) {
  EMULSION_CHECK(index.rank() == x.rank(), op, ": index ", index.shape, " and ", x.shape,
                 " must have one rank");
  for (int k = 0; k < x.rank(); ++k)
    EMULSION_CHECK(k == axis || index.dim(k) <= x.dim(k), op, ": index ", index.shape,
                   " is larger than ", x.shape, " on axis ", k);
}

// A line runs along `axis` at fixed other coordinates. Line number in index's shape -> first
// element in a tensor of the given shape.
EMULSION_INLINE int64_t line_start(const Shape& lines, const Shape& shape, int axis, int64_t line) {
  int64_t start = 0, stride = 1;
  for (int k = shape.rank() - 1; k >= 0; --k) {
    if (k != axis) {
      start += line % lines[k] * stride;
      line /= lines[k];
    }
    stride *= shape[k];
  }
  return start;
}

template <class T, class I>
void gather_lines(const View& x, const View& index, int axis, View& y) {
  const int64_t count = index.dim(axis), inner = index.shape.product(axis + 1, index.rank());
  const int64_t x_step = x.shape.product(axis + 1, x.rank());
  const T* from = x.as<T>();
  const I* at = index.as<I>();
  T* to = y.as<T>();
  const int64_t lines = index.numel() / count;
  parallel_for(lines, grain_of(count), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const T* source = from + line_start(index.shape, x.shape, axis, line);
      const int64_t first = line / inner * count * inner + line % inner;
      for (int64_t i = 0; i < count; ++i)
        to[first + i * inner] = source[at[first + i * inner] * x_step];
    }
  });
}

// Adds src's lines into the accumulator lines of y: `to` is y itself, or its float32 copy.
template <class T, class Acc, class I>
void scatter_lines(const View& index, const T* src, int axis, const Shape& shape, Acc* to) {
  const int64_t count = index.dim(axis), inner = index.shape.product(axis + 1, index.rank());
  const int64_t step = shape.product(axis + 1, shape.rank());
  const I* at = index.as<I>();
  parallel_for(index.numel() / count, grain_of(count), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      Acc* sums = to + line_start(index.shape, shape, axis, line);
      const int64_t first = line / inner * count * inner + line % inner;
      for (int64_t i = 0; i < count; ++i)
        sums[at[first + i * inner] * step] += convert<Acc>(src[first + i * inner]);
    }
  });
}

// Slices ids[i] += src[i]: split over (outer, block of the slice), each block in the order of ids.
template <class T, class Acc, class I>
void add_slices(const View& ids, const T* src, int64_t outer, int64_t extent, int64_t inner,
                Acc* to) {
  constexpr int64_t block = 256;
  const int64_t count = ids.numel(), blocks = (inner + block - 1) / block;
  const I* at = ids.as<I>();
  parallel_for(outer * blocks, grain_of(count * (inner < block ? inner : block)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t slice = task / blocks, first = task % blocks * block;
                   const int64_t width = inner - first < block ? inner - first : block;
                   for (int64_t i = 0; i < count; ++i) {
                     const T* from = src + (slice * count + i) * inner + first;
                     Acc* sums = to + (slice * extent + at[i]) * inner + first;
                     for (int64_t c = 0; c < width; ++c) sums[c] += convert<Acc>(from[c]);
                   }
                 }
               });
}

// y = x or zeros in the accumulator's type, then add(), then back to the stored type.
template <class T, class Add>
void accumulate_into(const View& x, View& y, Add&& add) {
  using Acc = Accumulator<T>;
  const int64_t count = y.numel();
  T* to = y.as<T>();
  Acc* sums;
  if constexpr (__is_same(T, Acc)) {
    sums = to;
  } else {
    sums = scratch<Acc>(0, count);
  }
  const T* from = x.present ? x.as<T>() : nullptr;
  parallel_for(count, grain_elements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sums[i] = from ? convert<Acc>(from[i]) : Acc(0);
  });
  add(sums);
  if constexpr (!__is_same(T, Acc))
    parallel_for(count, grain_elements, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = convert<T>(sums[i]);
    });
}

void check_sum(const View& x, const View& src, const View& y, const char* op) {
  EMULSION_CHECK(src.present && y.present && src.dtype == y.dtype, op,
                 ": src and y must have one dtype");
  EMULSION_CHECK(!x.present || (x.dtype == y.dtype && x.shape == y.shape), op, ": x ", x.shape,
                 " must match y ", y.shape);
}

}  // namespace

void gather_forward(const View& x, const View& index, int64_t axis, View& y) {
  const int along = checked_axis(x, axis, "gather");
  check_lines(x, index, along, "gather");
  EMULSION_CHECK(y.present && y.dtype == x.dtype && y.shape == index.shape, "gather: y must be ",
                 index.shape);
  check_indices(index, x.dim(along), "gather");
  if (y.numel() == 0) return;
  dispatch_width(x.dtype, [&]<class T>() {
    dispatch_index(index.dtype, [&]<class I>() { gather_lines<T, I>(x, index, along, y); });
  });
}

void scatter_add_forward(const View& x, const View& index, const View& src, int64_t axis, View& y) {
  const int along = checked_axis(y, axis, "scatter_add");
  check_sum(x, src, y, "scatter_add");
  check_lines(y, index, along, "scatter_add");
  EMULSION_CHECK(src.shape == index.shape, "scatter_add: src ", src.shape, " and index ",
                 index.shape, " differ");
  check_indices(index, y.dim(along), "scatter_add");
  if (y.numel() == 0) return;
  dispatch_floating(y.dtype, "scatter_add", [&]<class T>() {
    accumulate_into<T>(x, y, [&](Accumulator<T>* sums) {
      if (index.numel() == 0) return;
      dispatch_index(index.dtype, [&]<class I>() {
        scatter_lines<T, Accumulator<T>, I>(index, src.as<T>(), along, y.shape, sums);
      });
    });
  });
}

void index_select_forward(const View& x, const View& ids, int64_t axis, View& y) {
  const int along = checked_axis(x, axis, "index_select");
  check_indices(ids, x.dim(along), "index_select");
  EMULSION_CHECK(ids.rank() == 1 && y.present && y.dtype == x.dtype && y.rank() == x.rank(),
                 "index_select: ids must have rank 1 and y the rank and dtype of x");
  for (int k = 0; k < x.rank(); ++k)
    EMULSION_CHECK(y.dim(k) == (k == along ? ids.dim(0) : x.dim(k)), "index_select: y ", y.shape,
                   " does not fit x ", x.shape);
  if (y.numel() == 0) return;
  const int64_t count = ids.numel(), extent = x.dim(along);
  const int64_t slice = x.shape.product(along + 1, x.rank()) * dtype_size(x.dtype);
  dispatch_index(ids.dtype, [&]<class I>() {
    const I* at = ids.as<I>();
    parallel_for(x.shape.product(0, along) * count, grain_of(slice / 4),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row)
                     std::memcpy(y.as<char>() + row * slice,
                                 x.as<char>() + (row / count * extent + at[row % count]) * slice,
                                 static_cast<size_t>(slice));
                 });
  });
}

void index_add_forward(const View& x, const View& ids, const View& src, int64_t axis, View& y) {
  const int along = checked_axis(y, axis, "index_add");
  check_sum(x, src, y, "index_add");
  check_indices(ids, y.dim(along), "index_add");
  EMULSION_CHECK(ids.rank() == 1 && src.rank() == y.rank(),
                 "index_add: ids must have rank 1, src the rank of y");
  for (int k = 0; k < y.rank(); ++k)
    EMULSION_CHECK(src.dim(k) == (k == along ? ids.dim(0) : y.dim(k)), "index_add: src ", src.shape,
                   " does not fit y ", y.shape);
  if (y.numel() == 0) return;
  dispatch_floating(y.dtype, "index_add", [&]<class T>() {
    accumulate_into<T>(x, y, [&](Accumulator<T>* sums) {
      if (src.numel() == 0) return;
      dispatch_index(ids.dtype, [&]<class I>() {
        add_slices<T, Accumulator<T>, I>(ids, src.as<T>(), y.shape.product(0, along), y.dim(along),
                                         y.shape.product(along + 1, y.rank()), sums);
      });
    });
  });
}

void one_hot_forward(const View& ids, View& y) {
  EMULSION_CHECK(ids.present && y.present && y.rank() == ids.rank() + 1 &&
                     y.shape.product(0, ids.rank()) == ids.numel(),
                 "one_hot: y ", y.shape, " must be ids ", ids.shape, " and the classes");
  const int64_t classes = y.dim(-1);
  check_indices(ids, classes, "one_hot");
  if (y.numel() == 0) return;
  std::memset(y.data, 0, static_cast<size_t>(y.bytes()));
  dispatch_all(y.dtype, [&]<class T>() {
    dispatch_index(ids.dtype, [&]<class I>() {
      for (int64_t i = 0; i < ids.numel(); ++i)
        y.as<T>()[i * classes + ids.as<I>()[i]] = convert<T>(1.0f);
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
