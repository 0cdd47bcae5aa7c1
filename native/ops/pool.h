// Pooling over windows of an image.
//
// x: [N, H, W, C], y: [N, OH, OW, C] with OH = floor((H + 2·padding_h - kernel_h) / stride_h) + 1,
// OW alike; floating dtypes. kernel, stride, padding: [height, width]; 2·padding <= kernel. avg:
// the mean over the window, padding counted as zeros (the divisor is always the kernel's area).
// max: the largest value, NaN above all; index [N, OH, OW, C] int32 is its position h·W + w, the
// first one in row-major order where several are equal. The gradient goes to that position alone.
// Backward passes write every element of dx, summed over the windows in row-major order.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void avg_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                                         const Shape& padding, View& y);
                 void avg_pool2d_backward(const View& dy, const Shape& kernel, const Shape& stride,
                                          const Shape& padding, View& dx);
                 void max_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                                         const Shape& padding, View& y, View& index);
                 void max_pool2d_backward(const View& dy, const View& index, const Shape& kernel,
                                          const Shape& stride, const Shape& padding, View& dx);)

namespace emulsion {

static inline void check_pool_axis(int64_t in, int64_t out, int64_t kernel, int64_t stride,
                                   int64_t padding) {
  EMULSION_CHECK(kernel >= 1 && stride >= 1 && padding >= 0 && 2 * padding <= kernel &&
                     kernel < (1 << 24) && stride < (1 << 24),
                 "pool: kernel ", kernel, ", stride ", stride, " and padding ", padding,
                 " do not fit");
  EMULSION_CHECK(in >= 1, "pool: images without pixels");
  const int64_t room = in + 2 * padding - kernel;
  EMULSION_CHECK(room >= 0 && out == room / stride + 1, "pool: extent ", in, " does not give ",
                 out);
}

static inline void check_pool(const View& x, const View& y, const Shape& kernel,
                              const Shape& stride, const Shape& padding) {
  EMULSION_CHECK(x && y && x.rank() == 4 && y.rank() == 4, "pool: images must be [N, H, W, C]");
  EMULSION_CHECK(kernel.rank() == 2 && stride.rank() == 2 && padding.rank() == 2,
                 "pool: kernel, stride and padding must be [height, width]");
  EMULSION_CHECK(x.dtype == y.dtype && x.dim(0) == y.dim(0) && x.dim(3) == y.dim(3), "pool: x ",
                 x.shape, " and y ", y.shape, " differ in batch, channels or dtype");
  EMULSION_CHECK(x.dim(1) * x.dim(2) <= INT32_MAX, "pool: image ", x.shape, " is too large");
  for (int i = 0; i < 2; ++i)
    check_pool_axis(x.dim(1 + i), y.dim(1 + i), kernel[i], stride[i], padding[i]);
}

static inline void check_pool_index(const View& index, const View& y) {
  EMULSION_CHECK(index && index.dtype == DType::int32 && index.shape == y.shape,
                 "max_pool2d: index must be int32 of y's shape ", y.shape, ", got ", index.shape);
}

}  // namespace emulsion
