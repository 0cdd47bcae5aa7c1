// Pooling over windows of an image.
//
// x: [N, H, W, C], y: [N, OH, OW, C] with OH = floor((H + 2·padding_h - kernel_h) / stride_h) + 1,
// OW alike; floating dtypes. kernel, stride, padding: [height, width]; 2·padding <= kernel. avg:
// the mean over the window, padding counted as zeros (the divisor is always the kernel's area).
// max: the largest value, NaN above all; index [N, OH, OW, C] int32 is its position h·W + w, the
// first one in row-major order where several are equal. The gradient goes to that position alone.
// Backward passes write every element of dx, summed over the windows in row-major order.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void avg_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                                         const Shape& padding, View& y);
                 void avg_pool2d_backward(const View& dy, const Shape& kernel, const Shape& stride,
                                          const Shape& padding, View& dx);
                 void max_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                                         const Shape& padding, View& y, View& index);
                 void max_pool2d_backward(const View& dy, const View& index, const Shape& kernel,
                                          const Shape& stride, const Shape& padding, View& dx);)
