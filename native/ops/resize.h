// Image resizing as torch.nn.functional.interpolate defines it. Linear and separable:
//   y[n, i, j, :] = Σh Σw A[i, h]·B[j, w]·x[n, h, w, :],   dx = the same with Aᵀ and Bᵀ.
//
// x: [N, H, W, C], y: [N, OH, OW, C], one dtype. mode: 0 nearest (any dtype forward), 1 bilinear,
// 2 bicubic, 3 area (adaptive average), floating dtypes.
// scale: [height, width] factors out/in that the coordinates use; 0 derives them from the extents.
// align_corners (bilinear, bicubic): corner pixels' centres coincide. antialias (bilinear, bicubic,
// not with align_corners): widens the kernel when shrinking. Bicubic has a = -0.75, antialiased
// -0.5.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void resize_forward(const View& x, int64_t mode, bool align_corners,
                                     bool antialias, double scale_h, double scale_w, View& y);
                 void resize_backward(const View& dy, int64_t mode, bool align_corners,
                                      bool antialias, double scale_h, double scale_w, View& dx);)

namespace emulsion {

struct ResizeMode {
  enum : int { nearest, bilinear, bicubic, area };
};

static inline void check_resize(const View& x, const View& y, int64_t mode, bool align_corners,
                                bool antialias, double scale_h, double scale_w) {
  EMULSION_CHECK(x && y && x.rank() == 4 && y.rank() == 4, "resize: images must be [N, H, W, C]");
  EMULSION_CHECK(x.dtype == y.dtype && x.dim(0) == y.dim(0) && x.dim(3) == y.dim(3), "resize: x ",
                 x.shape, " and y ", y.shape, " differ in batch, channels or dtype");
  EMULSION_CHECK(x.dim(1) * x.dim(2) > 0 && y.dim(1) * y.dim(2) > 0,
                 "resize: images without pixels: ", x.shape, " and ", y.shape);
  EMULSION_CHECK(mode >= ResizeMode::nearest && mode <= ResizeMode::area,
                 "resize: there is no mode ", mode);
  EMULSION_CHECK(!(align_corners && antialias),
                 "resize: align_corners and antialias exclude each other");
  EMULSION_CHECK(
      !(align_corners || antialias) || mode == ResizeMode::bilinear || mode == ResizeMode::bicubic,
      "resize: align_corners and antialias are for bilinear and bicubic");
  EMULSION_CHECK(scale_h >= 0 && scale_w >= 0 && scale_h < 1e6 && scale_w < 1e6 &&
                     (scale_h == 0 || scale_h > 1e-6) && (scale_w == 0 || scale_w > 1e-6),
                 "resize: scale must be positive, or 0 for out / in; got ", scale_h, " and ",
                 scale_w);
}

}  // namespace emulsion
