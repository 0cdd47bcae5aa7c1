// Pooling over windows of NHWC images. A thread makes 16 bytes of channels of one output pixel;
// backward it gathers, for a pixel of dx, from the windows that hold it, in row-major order.
//
// Forward reads x and writes y (and an int32 index); the windows of neighbouring threads share
// their pixels in the first-level cache. Bandwidth is the roof.
#include "ops/pool.h"

#include "cuda/walk.cuh"

namespace emulsion::cuda {
namespace {

struct Span {
  int begin, end;
};

// One axis of the windows.
struct Axis {
  int in, out, kernel, stride, padding;
  Divisor by_stride;

  // Input positions inside window o.
  __device__ __forceinline__ Span window(int o) const {
    const int from = o * stride - padding;  // below in + padding
    return {::max(from, 0), ::min(from + kernel, in)};
  }
  // Windows that hold input position i.
  __device__ __forceinline__ Span windows(int i) const {
    uint32_t rest;
    const auto last = static_cast<int>(by_stride(static_cast<uint32_t>(i + padding), rest));
    const int before = i + padding - kernel;
    const int first =
        before < 0 ? 0 : static_cast<int>(by_stride(static_cast<uint32_t>(before), rest)) + 1;
    return {first, ::min(last + 1, out)};
  }
};

struct Window {
  int64_t N, C;
  Axis h, w;
};

Window window_of(const View& x, const View& y, const Shape& kernel, const Shape& stride,
                 const Shape& padding) {
  check_pool(x, y, kernel, stride, padding);
  const auto axis = [&](int i) {
    const int64_t in = x.dim(1 + i);
    EMULSION_CHECK(in <= INT32_MAX - (1 << 25), "pool: extent ", in, " is too large");
    return Axis{static_cast<int>(in),         static_cast<int>(y.dim(1 + i)),
                static_cast<int>(kernel[i]),  static_cast<int>(stride[i]),
                static_cast<int>(padding[i]), Divisor(stride[i])};
  };
  return {x.dim(0), x.dim(3), axis(0), axis(1)};
}

// The pixels that threads write, `width` channels each.
template <bool wide>
struct Pixels {
  int64_t count;
  Extent<wide> packs, columns, rows;

  Pixels(const View& image, int width)
      : count(image.numel() / width),
        packs(image.dim(3) / width),
        columns(image.dim(2)),
        rows(image.dim(1)) {}

  struct At {
    int64_t image;
    int row, column;
    int64_t channel;  // in packs
  };
  __device__ __forceinline__ At operator()(int64_t i) const {
    Index<wide> channel, column, row;
    Index<wide> rest = packs(static_cast<Index<wide>>(i), channel);
    rest = columns(rest, column);
    rest = rows(rest, row);
    return {static_cast<int64_t>(rest), static_cast<int>(row), static_cast<int>(column),
            static_cast<int64_t>(channel)};
  }
};

// Avg: the mean over a window forward (`adjoint` false), its transpose backward.
template <class T, int width, bool wide, bool adjoint>
__global__ void mean_kernel(const T* from, T* to, Axis h, Axis w, Pixels<wide> pixels, int64_t C,
                            float factor) {
  for (int64_t i = grid_thread(); i < pixels.count; i += grid_threads()) {
    const auto at = pixels(i);
    const Span rows = adjoint ? h.windows(at.row) : h.window(at.row);
    const Span columns = adjoint ? w.windows(at.column) : w.window(at.column);
    const int64_t height = adjoint ? h.out : h.in, breadth = adjoint ? w.out : w.in;
    const T* image = from + at.image * height * breadth * C + at.channel * width;
    float total[width] = {};
    for (int y = rows.begin; y < rows.end; ++y) {
      const T* line = image + y * breadth * C;
#pragma unroll 2
      for (int x = columns.begin; x < columns.end; ++x) {
        const Pack<T, width> pack = load_pack<T, width>(line + x * C);
#pragma unroll
        for (int e = 0; e < width; ++e) total[e] += widen(pack.values[e]);
      }
    }
    Pack<T, width> mean;
#pragma unroll
    for (int e = 0; e < width; ++e) mean.values[e] = narrow<T>(total[e] * factor);
    store_pack(to + i * width, mean);
  }
}

// Indices beside a pack of values, 16 bytes at a time.
template <int width>
struct Positions {
  static constexpr int step = width < 4 ? width : 4;
  int values[width];

  __device__ __forceinline__ void load(const int32_t* from) {
#pragma unroll
    for (int e = 0; e < width; e += step) {
      const Pack<int32_t, step> pack = load_pack<int32_t, step>(from + e);
#pragma unroll
      for (int k = 0; k < step; ++k) values[e + k] = pack.values[k];
    }
  }
  __device__ __forceinline__ void store(int32_t* to) const {
#pragma unroll
    for (int e = 0; e < width; e += step) {
      Pack<int32_t, step> pack;
#pragma unroll
      for (int k = 0; k < step; ++k) pack.values[k] = values[e + k];
      store_pack(to + e, pack);
    }
  }
};

template <class T, int width, bool wide>
__global__ void max_kernel(const T* from, T* to, int32_t* index, Axis h, Axis w,
                           Pixels<wide> pixels, int64_t C) {
  for (int64_t i = grid_thread(); i < pixels.count; i += grid_threads()) {
    const auto at = pixels(i);
    const Span rows = h.window(at.row), columns = w.window(at.column);
    const T* image = from + at.image * h.in * w.in * C + at.channel * width;
    const int start = rows.begin * w.in + columns.begin;
    Pack<T, width> best = load_pack<T, width>(image + start * C);
    Positions<width> where;
#pragma unroll
    for (int& position : where.values) position = start;
    for (int y = rows.begin; y < rows.end; ++y)
#pragma unroll 2
      for (int x = columns.begin; x < columns.end; ++x) {
        const int position = y * w.in + x;
        const Pack<T, width> candidate = load_pack<T, width>(image + position * C);
#pragma unroll
        for (int e = 0; e < width; ++e) {
          const float value = widen(candidate.values[e]), top = widen(best.values[e]);
          if (value > top || (value != value && top == top)) {
            best.values[e] = candidate.values[e];
            where.values[e] = position;
          }
        }
      }
    store_pack(to + i * width, best);
    where.store(index + i * width);
  }
}

template <class T, int width, bool wide>
__global__ void max_gradient_kernel(const T* dy, const int32_t* index, T* dx, Axis h, Axis w,
                                    Pixels<wide> pixels, int64_t C) {
  for (int64_t i = grid_thread(); i < pixels.count; i += grid_threads()) {
    const auto at = pixels(i);
    const Span rows = h.windows(at.row), columns = w.windows(at.column);
    const int position = at.row * w.in + at.column;
    const int64_t first = at.image * h.out * w.out * C + at.channel * width;
    float total[width] = {};
    for (int y = rows.begin; y < rows.end; ++y)
#pragma unroll 2
      for (int x = columns.begin; x < columns.end; ++x) {
        const int64_t from = first + (static_cast<int64_t>(y) * w.out + x) * C;
        Positions<width> where;
        where.load(index + from);
        const Pack<T, width> pack = load_pack<T, width>(dy + from);
#pragma unroll
        for (int e = 0; e < width; ++e)
          if (where.values[e] == position) total[e] += widen(pack.values[e]);
      }
    Pack<T, width> sum;
#pragma unroll
    for (int e = 0; e < width; ++e) sum.values[e] = narrow<T>(total[e]);
    store_pack(dx + i * width, sum);
  }
}

// Calls body.template operator()<T, width, wide>() for images of that dtype and alignment.
template <class Body>
void dispatch_images(const char* op, const View& x, const View& y, bool aligned, Body&& body) {
  dispatch_float(x.dtype, op, [&]<class T>() {
    if (x.numel() == 0) return;
    constexpr int width = 16 / sizeof(T);
    if (is_wide(std::max(x.numel(), y.numel()))) return body.template operator()<T, 1, true>();
    if (aligned && x.dim(3) % width == 0 && vectors(x.data, y.data))
      return body.template operator()<T, width, false>();
    body.template operator()<T, 1, false>();
  });
}

float mean_factor(const Window& window) {
  return static_cast<float>(1.0 / (static_cast<double>(window.h.kernel) * window.w.kernel));
}

}  // namespace

void avg_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                        const Shape& padding, View& y) {
  const Window window = window_of(x, y, kernel, stride, padding);
  dispatch_images("avg_pool2d", x, y, true, [&]<class T, int width, bool wide>() {
    const Pixels<wide> pixels(y, width);
    launch("avg_pool2d", mean_kernel<T, width, wide, false>, stream_grid(pixels.count), x.as<T>(),
           y.as<T>(), window.h, window.w, pixels, window.C, mean_factor(window));
  });
}

void avg_pool2d_backward(const View& dy, const Shape& kernel, const Shape& stride,
                         const Shape& padding, View& dx) {
  const Window window = window_of(dx, dy, kernel, stride, padding);
  dispatch_images("avg_pool2d", dx, dy, true, [&]<class T, int width, bool wide>() {
    const Pixels<wide> pixels(dx, width);
    launch("avg_pool2d", mean_kernel<T, width, wide, true>, stream_grid(pixels.count), dy.as<T>(),
           dx.as<T>(), window.h, window.w, pixels, window.C, mean_factor(window));
  });
}

void max_pool2d_forward(const View& x, const Shape& kernel, const Shape& stride,
                        const Shape& padding, View& y, View& index) {
  const Window window = window_of(x, y, kernel, stride, padding);
  check_pool_index(index, y);
  const bool aligned = vectors(index.data);
  dispatch_images("max_pool2d", x, y, aligned, [&]<class T, int width, bool wide>() {
    const Pixels<wide> pixels(y, width);
    launch("max_pool2d", max_kernel<T, width, wide>, stream_grid(pixels.count), x.as<T>(),
           y.as<T>(), index.as<int32_t>(), window.h, window.w, pixels, window.C);
  });
}

void max_pool2d_backward(const View& dy, const View& index, const Shape& kernel,
                         const Shape& stride, const Shape& padding, View& dx) {
  const Window window = window_of(dx, dy, kernel, stride, padding);
  check_pool_index(index, dy);
  const bool aligned = vectors(index.data);
  dispatch_images("max_pool2d", dx, dy, aligned, [&]<class T, int width, bool wide>() {
    const Pixels<wide> pixels(dx, width);
    launch("max_pool2d", max_gradient_kernel<T, width, wide>, stream_grid(pixels.count), dy.as<T>(),
           index.as<int32_t>(), dx.as<T>(), window.h, window.w, pixels, window.C);
  });
}

}  // namespace emulsion::cuda
