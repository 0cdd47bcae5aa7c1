// What the three passes of a convolution share: the sizes they can count; the walk over images that
// the forward pass and the gradient of the input both are; what happens to a finished sum.
//
// A walk visits the pixels of a grid. Pixel (n, y, x) sums, over taps (i, j) and channels c,
//   images[n, first_h + y·step_h + i·tap_h, first_w + x·step_w + j·tap_w, c] · filter[k, i, j, c]
// and the sum for k belongs to pixel (n, out_first_h + y·out_step_h, out_first_w + x·out_step_w).
// The forward pass is one walk. The gradient of the input is one walk over dy for each of the
// stride_h · stride_w classes of input pixels, which have their own subset of the taps: nothing is
// multiplied by the zeros between.
#pragma once

#include <numeric>

#include "cuda/activation.cuh"
#include "cuda/columns.cuh"
#include "cuda/device.cuh"
#include "cuda/host.h"
#include "ops/conv2d.h"

namespace emulsion::cuda {

// Kernels count in 32 bits: pixels and channels; within one filter also the elements of 64 rows.
inline ConvGeometry countable_geometry(const char* op, const View& x, const View& weight,
                                       const View& y, const Shape& stride, const Shape& padding,
                                       const Shape& dilation, int64_t groups) {
  const ConvGeometry g = conv_geometry(op, x, weight, y, stride, padding, dilation, groups);
  constexpr int64_t most = int64_t{1} << 30, most_deep = int64_t{1} << 26;
  EMULSION_CHECK(g.N * g.H * g.W < most && g.N * g.P * g.Q < most && g.C < most && g.K < most, op,
                 ": images of 2^30 pixels or channels are not supported");
  EMULSION_CHECK(g.taps() * g.group_C < most_deep && g.taps() * g.group_K < most_deep, op,
                 ": filters of 2^26 elements are not supported");
  return g;
}

struct PixelWalk {
  int N, groups;
  int in_h, in_w;      // images read: [N, in_h, in_w, groups · channels]
  int channels;        // of one group, summed over
  int grid_h, grid_w;  // pixels visited in each image
  int first_h, first_w, step_h, step_w, tap_h, tap_w;
  int taps_h, taps_w;
  int out_h, out_w;  // results: [N, out_h, out_w, groups · filters]
  int filters;       // of one group
  int out_first_h, out_first_w, out_step_h, out_step_w;
  // Element (k, i, j, c) of a group's filters: filter_first + k·filter_row + i·filter_h +
  // j·filter_w + c·filter_channel; the next group's begin filter_group elements behind. Of
  // filter_row and filter_channel one is 1.
  int64_t filter_first, filter_row, filter_h, filter_w, filter_channel, filter_group;

  __host__ __device__ int taps() const { return taps_h * taps_w; }
  __host__ __device__ int pixels() const { return N * grid_h * grid_w; }

  // Whether what a filter sums over lies together, or is nothing.
  bool deep() const { return filter_channel == 1 || taps() == 0; }

  // Whether every pixel reads just itself.
  bool pointwise() const {
    return taps() == 1 && first_h == 0 && first_w == 0 && step_h == 1 && step_w == 1 &&
           in_h == grid_h && in_w == grid_w;
  }
};

inline PixelWalk forward_walk(const ConvGeometry& g) {
  PixelWalk w{};
  w.N = static_cast<int>(g.N);
  w.groups = static_cast<int>(g.groups);
  w.in_h = static_cast<int>(g.H);
  w.in_w = static_cast<int>(g.W);
  w.channels = static_cast<int>(g.group_C);
  w.grid_h = w.out_h = static_cast<int>(g.P);
  w.grid_w = w.out_w = static_cast<int>(g.Q);
  w.first_h = -static_cast<int>(g.top);
  w.first_w = -static_cast<int>(g.left);
  w.step_h = static_cast<int>(g.stride_h);
  w.step_w = static_cast<int>(g.stride_w);
  w.tap_h = static_cast<int>(g.dilation_h);
  w.tap_w = static_cast<int>(g.dilation_w);
  w.taps_h = static_cast<int>(g.R);
  w.taps_w = static_cast<int>(g.S);
  w.filters = static_cast<int>(g.group_K);
  w.out_step_h = w.out_step_w = 1;
  w.filter_channel = 1;
  w.filter_w = g.group_C;
  w.filter_h = g.S * g.group_C;
  w.filter_row = g.R * g.S * g.group_C;
  w.filter_group = g.group_K * w.filter_row;
  return w;
}

// One axis of the input pixels h ≡ phase (mod stride): the taps that reach them, and where each
// reads dy. h + pad - r·dilation must be a multiple of stride, so these r are `step` apart.
struct PhaseTaps {
  int64_t first, step, count;  // taps: first, first + step, ...
  int64_t offset, spacing;     // the first one reads dy at h / stride + offset, the next before it

  PhaseTaps(int64_t phase, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
    const int64_t common = std::gcd(stride, dilation);
    first = 0;
    step = stride / common;
    spacing = dilation / common;
    while (first < step && first < kernel && (phase + pad - first * dilation) % stride != 0)
      ++first;
    count = first < step && first < kernel ? (kernel - 1 - first) / step + 1 : 0;
    offset = count ? (phase + pad - first * dilation) / stride : 0;
  }
};

// The gradient of the input pixels (phase_h, phase_w) modulo the stride, over dy. Taps go from the
// last to the first, so that the pixels they read go forward. What the walk sums over are the
// filters of the forward pass, which are far apart.
inline PixelWalk backward_walk(const ConvGeometry& g, int64_t phase_h, int64_t phase_w) {
  const PhaseTaps h(phase_h, g.R, g.stride_h, g.top, g.dilation_h);
  const PhaseTaps v(phase_w, g.S, g.stride_w, g.left, g.dilation_w);
  const int64_t last_h = h.first + h.step * (h.count - 1);
  const int64_t last_w = v.first + v.step * (v.count - 1);
  PixelWalk w{};
  w.N = static_cast<int>(g.N);
  w.groups = static_cast<int>(g.groups);
  w.in_h = static_cast<int>(g.P);
  w.in_w = static_cast<int>(g.Q);
  w.channels = static_cast<int>(g.group_K);
  w.grid_h = static_cast<int>(ceil_div(g.H - phase_h, g.stride_h));
  w.grid_w = static_cast<int>(ceil_div(g.W - phase_w, g.stride_w));
  w.tap_h = static_cast<int>(h.spacing);
  w.tap_w = static_cast<int>(v.spacing);
  w.first_h = static_cast<int>(h.offset - h.spacing * (h.count - 1));
  w.first_w = static_cast<int>(v.offset - v.spacing * (v.count - 1));
  w.step_h = w.step_w = 1;
  w.taps_h = static_cast<int>(h.count);
  w.taps_w = static_cast<int>(v.count);
  w.out_h = static_cast<int>(g.H);
  w.out_w = static_cast<int>(g.W);
  w.filters = static_cast<int>(g.group_C);
  w.out_first_h = static_cast<int>(phase_h);
  w.out_first_w = static_cast<int>(phase_w);
  w.out_step_h = static_cast<int>(g.stride_h);
  w.out_step_w = static_cast<int>(g.stride_w);
  w.filter_row = 1;
  w.filter_channel = g.taps() * g.group_C;
  w.filter_h = -h.step * g.S * g.group_C;
  w.filter_w = -v.step * g.group_C;
  w.filter_first = (last_h * g.S + last_w) * g.group_C;
  w.filter_group = g.group_K * w.filter_channel;
  return w;
}

// The same over filters that were transposed to [groups, R, S, group_C, group_K].
inline PixelWalk deep_walk(PixelWalk w) {
  w.filter_row = w.channels;
  w.filter_channel = 1;
  w.filter_h *= w.channels;
  w.filter_w *= w.channels;
  w.filter_first *= w.channels;
  return w;
}

// What is added to a sum on its way to the result, `width` neighbouring channels at a time.
template <class T>
struct ConvFinish {
  const T *bias, *channel_add, *residual;
  T *y, *preactivation;
  int64_t channels;  // of a pixel of y
  bool activate;     // by SiLU
  bool vectors;      // whether 16 bytes of channels can be read and written at once

  struct Pixel {
    int64_t at;  // of its first channel in y
    int image;
  };
  template <int width>
  struct Channels {
    int first, left;
    bool whole;
    Pack<T, width> bias;
  };
  template <int width>
  struct Added {
    Pack<T, width> channel_add, residual;
  };

  __device__ __forceinline__ Pixel pixel(int64_t pixel, int n) const {
    return {pixel * channels, n};
  }
  template <int width>
  __device__ __forceinline__ Channels<width> columns(int first, int left) const {
    Channels<width> at{first, left, vectors && left >= width, {}};
    if (bias) at.bias = load_columns<width>(bias + first, at.whole, left);
    return at;
  }
  template <int width>
  __device__ __forceinline__ Added<width> load(const Pixel& pixel,
                                               const Channels<width>& at) const {
    const auto from = [&](const T* tensor, int64_t first) {
      return tensor ? load_columns<width>(tensor + first + at.first, at.whole, at.left)
                    : Pack<T, width>{};
    };
    return {from(channel_add, pixel.image * channels), from(residual, pixel.at)};
  }
  template <int width>
  __device__ __forceinline__ void store(const Pixel& pixel, const Channels<width>& at,
                                        const Added<width>& added, float (&v)[width]) const {
    const int64_t to = pixel.at + at.first;
    if (bias) add_columns(v, at.bias);
    if (channel_add) add_columns(v, added.channel_add);
    if (preactivation) store_columns(preactivation + to, v, at.whole, at.left);
    if (activate) [[unlikely]] {
#pragma unroll
      for (float& value : v) value = silu(value);
    }
    if (residual) add_columns(v, added.residual);
    store_columns(y + to, v, at.whole, at.left);
  }
};

// Rows of a product that are the pixels of a walk, columns that are the filters of a group: the
// epilogue of gemm.cuh.
template <class T>
struct WalkEpilogue {
  static constexpr int width = 16 / sizeof(T);
  using Pixel = typename ConvFinish<T>::Pixel;
  using Channels = typename ConvFinish<T>::template Channels<width>;
  using Added = typename ConvFinish<T>::template Added<width>;

  ConvFinish<T> finish;
  Divisor image, line;
  int out_h, out_w, first_h, first_w, step_h, step_w;
  int filters;

  WalkEpilogue(const PixelWalk& walk, const ConvFinish<T>& finish)
      : finish(finish),
        image(walk.grid_h * walk.grid_w),
        line(walk.grid_w),
        out_h(walk.out_h),
        out_w(walk.out_w),
        first_h(walk.out_first_h),
        first_w(walk.out_first_w),
        step_h(walk.out_step_h),
        step_w(walk.out_step_w),
        filters(walk.filters) {}

  __device__ __forceinline__ Pixel row(int, int row) const {
    uint32_t within, x;
    const auto n = static_cast<int>(image(static_cast<uint32_t>(row), within));
    const auto y = static_cast<int>(line(within, x));
    return pixel(n, y, static_cast<int>(x));
  }
  // The same for pixel (n, y, x) of the grid.
  __device__ __forceinline__ Pixel pixel(int n, int y, int x) const {
    const int64_t h = int64_t{n} * out_h + first_h + y * step_h;
    return finish.pixel(h * out_w + first_w + x * step_w, n);
  }
  __device__ __forceinline__ Channels columns(int batch, int column, int left) const {
    return finish.template columns<width>(batch * filters + column, left);
  }
  __device__ __forceinline__ Added load(const Pixel& pixel, const Channels& at) const {
    return finish.load(pixel, at);
  }
  __device__ __forceinline__ void store(const Pixel& pixel, const Channels& at, const Added& added,
                                        float (&v)[width]) const {
    finish.store(pixel, at, added, v);
  }
};

// What an empty result has to say about its inputs.
template <class T>
__global__ void no_gradient(T* to, int64_t count) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) to[i] = narrow<T>(0.0f);
}

// ---- the kernels, T: float, bfloat16, float16

// Kernels that return a bool: false, and nothing done, where they do not suit the device, the walk
// or how its filters lie. All but direct ones and those of Hopper want deep filters, or one tap.

// Whole 16 bytes of channels and no stride, on Hopper, 16-bit types alone: taps that are
// neighbours from tiles with a border (conv2d_halo_hopper.cu), where that is the faster way, any
// taps one by one (conv2d_hopper.cu).
template <class T>
bool run_halo_hopper(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                     const ConvFinish<T>& finish);
template <class T>
bool run_hopper(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish);

// Stride 1 and undivided filters of nine taps or more, over whole 16 bytes of channels, on tensor
// cores (conv2d_halo.cu).
template <class T>
bool run_halo(const char* op, const T* images, const T* filters, const PixelWalk& walk,
              const ConvFinish<T>& finish);

// Any walk over deep filters, as a product (conv2d_gather.cu).
template <class T>
bool run_gather(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish);

// Any walk, one thread per result: for groups too narrow for a product (conv2d_direct.cu).
template <class T>
void run_direct(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish);

// The gradient of the filters of a forward walk.
template <class T>
void run_direct_weight(const char* op, const T* dy, const T* x, const PixelWalk& walk, T* dweight);

// The same on Hopper, of walks like run_hopper's (conv2d_weight_hopper.cu).
template <class T>
bool run_hopper_weight(const char* op, const T* dy, const T* x, const PixelWalk& walk, T* dweight);

inline bool narrow_groups(const PixelWalk& walk) {
  return walk.groups > 1 && (walk.channels < 8 || walk.filters < 8);
}

}  // namespace emulsion::cuda
