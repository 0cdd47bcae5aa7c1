// GEGLU (Shazeer, "GLU variants improve transformer", 2020): y = value · gelu(gate), the exact
// GELU.
//
//   geglu_forward    x [.., 2C] = value [.., C] beside gate [.., C]  →  y [.., C], plus residual
//                    [.., C] if given
//   geglu_backward   dx [.., 2C] from x and dy [.., C]
//
// Floating dtypes, one for all. Outputs may not overlap inputs. Bandwidth-bound but for the erfc.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(                                                      //
    void geglu_forward(const View& x, const View& residual, View& y);  //
    void geglu_backward(const View& x, const View& dy, View& dx);)

namespace emulsion {

// Returns the number of rows.
static inline int64_t checked_halves(const View& x, const View& y) {
  EMULSION_CHECK(x && y && x.dtype == y.dtype && x.rank() > 0 && x.rank() == y.rank(),
                 "geglu: ", x.shape, " and ", y.shape, " must have one dtype and rank");
  for (int i = 0; i + 1 < x.rank(); ++i)
    EMULSION_CHECK(x.dim(i) == y.dim(i), "geglu: ", x.shape, " and ", y.shape,
                   " differ before the last axis");
  EMULSION_CHECK(x.dim(-1) == 2 * y.dim(-1), "geglu: the last axis of ", y.shape,
                 " must be half of that of ", x.shape);
  return x.shape.product(0, x.rank() - 1);
}

static inline int64_t checked_geglu_forward(const View& x, const View& residual, const View& y) {
  const int64_t rows = checked_halves(x, y);
  EMULSION_CHECK(absent_or_alike(residual, y), "geglu: residual ", residual.shape,
                 " must be like y ", y.shape);
  return rows;
}

static inline int64_t checked_geglu_backward(const View& x, const View& dy, const View& dx) {
  checked_halves(dx, dy);
  EMULSION_CHECK(dx.shape == x.shape, "geglu: dx ", dx.shape, " must have x's shape ", x.shape);
  return checked_halves(x, dy);
}

}  // namespace emulsion
