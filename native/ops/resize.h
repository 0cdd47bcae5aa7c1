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

#include "ops/kernels.h"

EMULSION_KERNELS(void resize_forward(const View& x, int64_t mode, bool align_corners,
                                     bool antialias, double scale_h, double scale_w, View& y);
                 void resize_backward(const View& dy, int64_t mode, bool align_corners,
                                      bool antialias, double scale_h, double scale_w, View& dx);)
