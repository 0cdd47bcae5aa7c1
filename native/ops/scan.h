// Ops whose result depends on positions along one axis of x [outer, n, inner]; axis in [0, rank).
//
//   cumsum         y_i = Σ_{j <= i} x_j, or Σ_{j >= i} if `reverse`; dtypes as x: floating or
//   integer arg_extreme    y = index of the largest (or smallest) value, the first of equals; a NaN
//   counts as
//                  both, the first one wins. y is int64 with the axis of extent 1 or left out; n >
//                  0
//   topk_forward   the k largest (or smallest) values in order and their int64 indices, the lower
//   index
//                  first among equals; NaN as in arg_extreme. values, indices [outer, k, inner]
//   topk_backward  dx = 0, then dx[indices] += dy
//
// Floating sums run in float64. Latency-bound along the axis, parallel over the others.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(                                                                               //
    void cumsum(const View& x, int64_t axis, bool reverse, View& y);                            //
    void arg_extreme(const View& x, int64_t axis, bool largest, View& y);                       //
    void topk_forward(const View& x, int64_t axis, bool largest, View& values, View& indices);  //
    void topk_backward(const View& indices, const View& dy, int64_t axis, View& dx);)

namespace emulsion {

// x as [outer, n, inner] around an axis. A line is what runs along the axis, `inner` apart.
struct ScanLines {
  int64_t outer, n, inner;

  EMULSION_INLINE int64_t count() const { return outer * inner; }

  // First element of a line in a tensor whose axis has the given extent.
  EMULSION_INLINE int64_t start(int64_t line, int64_t extent) const {
    if (inner == 1) return line * extent;
    const int64_t above = line / inner;
    return above * extent * inner + (line - above * inner);
  }
};

static inline ScanLines scan_lines(const char* op, const View& x, int64_t axis) {
  EMULSION_CHECK(x, op, ": x is missing");
  EMULSION_CHECK(axis >= 0 && axis < x.rank(), op, ": axis ", axis, " does not exist in shape ",
                 x.shape);
  const int along = static_cast<int>(axis);
  return {x.shape.product(0, along), x.dim(along), x.shape.product(along + 1, x.rank())};
}

static inline void check_scan_lines(const char* op, const View& other, const char* name,
                                    const ScanLines& lines, int64_t extent) {
  EMULSION_CHECK(other && other.numel() == lines.count() * extent, op, ": ", name, ' ', other.shape,
                 " must have ", lines.count() * extent, " elements");
}

static inline ScanLines checked_cumsum(const View& x, int64_t axis, const View& y) {
  const ScanLines lines = scan_lines("cumsum", x, axis);
  EMULSION_CHECK(y && alike(x, y) && x.dtype != DType::boolean,
                 "cumsum: y must have x's shape and dtype, which is not bool");
  return lines;
}

static inline ScanLines checked_arg_extreme(const View& x, int64_t axis, const View& y) {
  const ScanLines lines = scan_lines("argmax/argmin", x, axis);
  EMULSION_CHECK(lines.n > 0 || lines.count() == 0, "argmax/argmin: axis ", axis, " of ", x.shape,
                 " is empty");
  check_scan_lines("argmax/argmin", y, "y", lines, 1);
  EMULSION_CHECK(y.dtype == DType::int64, "argmax/argmin: y must be int64");
  return lines;
}

static inline ScanLines checked_topk(const View& x, int64_t axis, const View& values,
                                     const View& indices) {
  const ScanLines lines = scan_lines("topK", x, axis);
  EMULSION_CHECK(values && values.rank() == x.rank() && values.dtype == x.dtype,
                 "topK: values must be like x");
  const int64_t k = values.dim(static_cast<int>(axis));
  EMULSION_CHECK(k <= lines.n, "topK: k (", k, ") exceeds the axis' extent (", lines.n, ")");
  check_scan_lines("topK", values, "values", lines, k);
  check_scan_lines("topK", indices, "indices", lines, k);
  EMULSION_CHECK(indices.dtype == DType::int64, "topK: indices must be int64");
  return lines;
}

static inline ScanLines checked_topk_backward(const View& indices, const View& dy, int64_t axis,
                                              const View& dx) {
  const ScanLines lines = scan_lines("topK", dx, axis);
  EMULSION_CHECK(indices && dy && indices.dtype == DType::int64 && dy.dtype == dx.dtype &&
                     indices.shape == dy.shape && dy.rank() == dx.rank(),
                 "topK: dy must have dx's dtype and rank and the indices' shape");
  check_scan_lines("topK", dy, "dy", lines, dy.dim(static_cast<int>(axis)));
  return lines;
}

}  // namespace emulsion
