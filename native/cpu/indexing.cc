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

}  // namespace

void gather_forward(const View& x, const View& index, int64_t axis, View& y) {
  const int along = checked_gather(x, index, axis, y);
  check_indices(index, x.dim(along), "gather");
  if (y.numel() == 0) return;
  dispatch_width(x.dtype, [&]<class T>() {
    dispatch_index(index.dtype, [&]<class I>() { gather_lines<T, I>(x, index, along, y); });
  });
}

void scatter_add_forward(const View& x, const View& index, const View& src, int64_t axis, View& y) {
  const int along = checked_scatter_add(x, index, src, axis, y);
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
  const int along = checked_index_select(x, ids, axis, y);
  check_indices(ids, x.dim(along), "index_select");
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
  const int along = checked_index_add(x, ids, src, axis, y);
  check_indices(ids, y.dim(along), "index_add");
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
  check_one_hot(ids, y);
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
