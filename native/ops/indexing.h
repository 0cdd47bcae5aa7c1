// Indexing along one axis. Indices are int32 or int64 in [0, extent of the axis); one outside is an
// index_out_of_range error of the op, found before anything is written.
//
//   gather_forward         y[.., i, ..] = x[.., index[.., i, ..], ..]
//   scatter_add_forward    y = x or zeros, then y[.., index[.., i, ..], ..] += src[.., i, ..]
//   index_select_forward   y[.., i, ..] = x[.., ids[i], ..]
//   index_add_forward      y = x or zeros, then y[.., ids[i], ..] += src[.., i, ..]
//   one_hot_forward        y[.., c] = 1 where ids[..] == c, else 0; any dtype of y
//
// index has x's rank and at most its extents on the other axes; gather's y and scatter_add's src
// have index's shape. ids has rank 1. scatter_add is also the gradient of gather, index_add that of
// index_select; an absent x stands for zeros. Additions that meet in one element happen in the
// order of i, in float32 for 16-bit types. Outputs overlap no input. Bandwidth bound, as far as the
// indices allow.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void gather_forward(const View& x, const View& index, int64_t axis, View& y);
                 void scatter_add_forward(const View& x, const View& index, const View& src,
                                          int64_t axis, View& y);
                 void index_select_forward(const View& x, const View& ids, int64_t axis, View& y);
                 void index_add_forward(const View& x, const View& ids, const View& src,
                                        int64_t axis, View& y);
                 void one_hot_forward(const View& ids, View& y);)

namespace emulsion {

static inline void check_ids(const char* op, const View& ids) {
  EMULSION_CHECK(ids && is_index(ids.dtype), op, ": indices must be int32 or int64, got ",
                 dtype_name(ids.dtype));
}

// index and x agree in rank; index fits into x on every axis but `axis`.
static inline void check_index_lines(const char* op, const View& x, const View& index, int axis) {
  check_ids(op, index);
  EMULSION_CHECK(index.rank() == x.rank(), op, ": index ", index.shape, " and ", x.shape,
                 " must have one rank");
  for (int k = 0; k < x.rank(); ++k)
    EMULSION_CHECK(k == axis || index.dim(k) <= x.dim(k), op, ": index ", index.shape,
                   " is larger than ", x.shape, " on axis ", k);
}

// What is summed up into y, over x.
static inline void check_index_sum(const char* op, const View& x, const View& src, const View& y) {
  EMULSION_CHECK(src && y && src.dtype == y.dtype, op, ": src and y must have one dtype");
  EMULSION_CHECK(absent_or_alike(x, y), op, ": x ", x.shape, " must match y ", y.shape);
}

static inline int checked_gather(const View& x, const View& index, int64_t axis, const View& y) {
  const int along = checked_axis("gather", x, axis);
  check_index_lines("gather", x, index, along);
  EMULSION_CHECK(y && y.dtype == x.dtype && y.shape == index.shape, "gather: y must be ",
                 index.shape);
  return along;
}

static inline int checked_scatter_add(const View& x, const View& index, const View& src,
                                      int64_t axis, const View& y) {
  const int along = checked_axis("scatter_add", y, axis);
  check_index_sum("scatter_add", x, src, y);
  check_index_lines("scatter_add", y, index, along);
  EMULSION_CHECK(src.shape == index.shape, "scatter_add: src ", src.shape, " and index ",
                 index.shape, " differ");
  return along;
}

static inline int checked_index_select(const View& x, const View& ids, int64_t axis,
                                       const View& y) {
  const int along = checked_axis("index_select", x, axis);
  check_ids("index_select", ids);
  EMULSION_CHECK(ids.rank() == 1 && y && y.dtype == x.dtype && y.rank() == x.rank(),
                 "index_select: ids must have rank 1 and y the rank and dtype of x");
  for (int k = 0; k < x.rank(); ++k)
    EMULSION_CHECK(y.dim(k) == (k == along ? ids.dim(0) : x.dim(k)), "index_select: y ", y.shape,
                   " does not fit x ", x.shape);
  return along;
}

static inline int checked_index_add(const View& x, const View& ids, const View& src, int64_t axis,
                                    const View& y) {
  const int along = checked_axis("index_add", y, axis);
  check_index_sum("index_add", x, src, y);
  check_ids("index_add", ids);
  EMULSION_CHECK(ids.rank() == 1 && src.rank() == y.rank(),
                 "index_add: ids must have rank 1, src the rank of y");
  for (int k = 0; k < y.rank(); ++k)
    EMULSION_CHECK(src.dim(k) == (k == along ? ids.dim(0) : y.dim(k)), "index_add: src ", src.shape,
                   " does not fit y ", y.shape);
  return along;
}

static inline void check_one_hot(const View& ids, const View& y) {
  check_ids("one_hot", ids);
  EMULSION_CHECK(y && y.rank() == ids.rank() + 1 && y.shape.product(0, ids.rank()) == ids.numel(),
                 "one_hot: y ", y.shape, " must be ids ", ids.shape, " and the classes");
}

}  // namespace emulsion
