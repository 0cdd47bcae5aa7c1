// Convolution as an implicit product for gemm.cuh: any filter, stride, dilation, padding and group.
//
//   forward, gradient of the input   rows are the pixels of a walk, columns the filters of a group,
//                                    the depth is (tap, channel)
//   gradient of the filters          rows are the filters, columns (tap, channel), the depth is the
//                                    pixels: both operands lie with the depth outside
//
// A pixel's row and column in the image are worked out once; each step along the depth adds one
// shift for its tap and compares with the borders. Channels are copied 16 bytes at a time where
// they are a multiple of that, else one by one. Two cursors beside the sums and fragments of the
// widest tiles are a few registers too many: up to a dozen words that a step needs once spill.
#pragma once

#include "cuda/conv2d_geometry.cuh"
#include "cuda/gemm.cuh"

namespace emulsion::cuda {
namespace {

// A position along (tap, channel).
struct TapPlace {
  Divisor channel, column;  // by the channels, by the taps of a row

  TapPlace(int channels, int taps_w)
      : channel(std::max(channels, 1)), column(std::max(taps_w, 1)) {}

  __device__ __forceinline__ void operator()(int k, int& i, int& j, int& c) const {
    uint32_t rest, across;
    const uint32_t tap = channel(static_cast<uint32_t>(k), rest);
    i = static_cast<int>(column(tap, across));
    j = static_cast<int>(across);
    c = static_cast<int>(rest);
  }
};

// What the pixels of a walk read: rows x (tap, channel).
template <class T, int width_>
struct WalkPixels {
  using Element = T;
  static constexpr bool deep = true;
  static constexpr int width = width_;

  const T* images;
  int pixels, depth, pitch, channels;
  int in_h, in_w, first_h, first_w, step_h, step_w, tap_h, tap_w;
  Divisor image, line;
  TapPlace taps;

  WalkPixels(const T* images, const PixelWalk& walk)
      : images(images),
        pixels(walk.pixels()),
        depth(walk.taps() * walk.channels),
        pitch(walk.groups * walk.channels),
        channels(walk.channels),
        in_h(walk.in_h),
        in_w(walk.in_w),
        first_h(walk.first_h),
        first_w(walk.first_w),
        step_h(walk.step_h),
        step_w(walk.step_w),
        tap_h(walk.tap_h),
        tap_w(walk.tap_w),
        image(walk.grid_h * walk.grid_w),
        line(walk.grid_w),
        taps(walk.channels, walk.taps_w) {}

  template <int slots>
  class Cursor {
   public:
    __device__ __forceinline__ Cursor(const WalkPixels& walk, int batch, int first_row, int first_k)
        : walk_(walk),
          images_(walk.images + int64_t{batch} * walk.channels),
          first_row_(first_row),
          first_k_(first_k) {}

    __device__ __forceinline__ void place(int slot, int row, int k) {
      uint32_t within, x;
      const int pixel = first_row_ + row;
      const auto n = static_cast<int>(walk_.image(static_cast<uint32_t>(pixel), within));
      const auto y = static_cast<int>(walk_.line(within, x));
      h_[slot] = walk_.first_h + y * walk_.step_h;
      w_[slot] = walk_.first_w + static_cast<int>(x) * walk_.step_w;
      at_[slot] = (n * walk_.in_h + h_[slot]) * walk_.in_w + w_[slot];
      if (pixel >= walk_.pixels) h_[slot] = -(1 << 30);  // outside of every image
      k_ = first_k_ + k;
      find_tap();
    }
    __device__ __forceinline__ gemm::Source<T> source(int slot) const {
      const auto h = static_cast<unsigned>(h_[slot] + tap_h_);
      const auto w = static_cast<unsigned>(w_[slot] + tap_w_);
      const bool valid = k_ < walk_.depth && h < static_cast<unsigned>(walk_.in_h) &&
                         w < static_cast<unsigned>(walk_.in_w);
      return {images_ + int64_t{at_[slot] + tap_at_} * walk_.pitch + channel_, valid};
    }
    __device__ __forceinline__ void advance(int depth) {
      k_ += depth;
      find_tap();
    }

   private:
    __device__ __forceinline__ void find_tap() {
      int i, j;
      walk_.taps(k_, i, j, channel_);
      tap_h_ = i * walk_.tap_h;
      tap_w_ = j * walk_.tap_w;
      tap_at_ = tap_h_ * walk_.in_w + tap_w_;
    }

    const WalkPixels& walk_;
    const T* const images_;
    const int first_row_, first_k_;
    int k_, channel_, tap_h_, tap_w_, tap_at_;
    int h_[slots], w_[slots], at_[slots];
  };
};

// The filters of a walk: filters x (tap, channel).
template <class T, int width_>
struct WalkFilters {
  using Element = T;
  static constexpr bool deep = true;
  static constexpr int width = width_;

  const T* filters;
  int rows, depth;
  int64_t row, tap_h, tap_w, group;
  TapPlace taps;

  WalkFilters(const T* filters, const PixelWalk& walk)
      : filters(filters + walk.filter_first),
        rows(walk.filters),
        depth(walk.taps() * walk.channels),
        row(walk.filter_row),
        tap_h(walk.filter_h),
        tap_w(walk.filter_w),
        group(walk.filter_group),
        taps(walk.channels, walk.taps_w) {}

  template <int slots>
  class Cursor {
   public:
    __device__ __forceinline__ Cursor(const WalkFilters& walk, int batch, int first_row,
                                      int first_k)
        : walk_(walk),
          filters_(walk.filters + batch * walk.group + first_row * walk.row),
          rows_left_(walk.rows - first_row),
          first_k_(first_k) {}

    __device__ __forceinline__ void place(int slot, int row, int k) {
      offset_[slot] = static_cast<uint32_t>(row * walk_.row / width);
      if (row < rows_left_) inside_ |= 1u << slot;
      k_ = first_k_ + k;
      find_tap();
    }
    __device__ __forceinline__ gemm::Source<T> source(int slot) const {
      return {filters_ + tap_ + int64_t{offset_[slot]} * width,
              k_ < walk_.depth && (inside_ >> slot & 1) != 0};
    }
    __device__ __forceinline__ void advance(int depth) {
      k_ += depth;
      find_tap();
    }

   private:
    __device__ __forceinline__ void find_tap() {
      int i, j, channel;
      walk_.taps(k_, i, j, channel);
      tap_ = i * walk_.tap_h + j * walk_.tap_w + channel;
    }

    const WalkFilters& walk_;
    const T* const filters_;
    const int rows_left_, first_k_;
    int k_;
    int64_t tap_;
    uint32_t inside_ = 0, offset_[slots];
  };
};

// What the pixels of a forward walk read, with the pixels as the depth: (tap, channel) x pixels.
template <class T, int width_>
struct WalkColumns {
  using Element = T;
  static constexpr bool deep = false;
  static constexpr int width = width_;

  const T* images;
  int N, columns, pitch, channels;
  int in_h, in_w, grid_h, grid_w, first_h, first_w, step_h, step_w, tap_h, tap_w;
  int skip_n, skip_y, skip_x;  // one tile of depth along the pixels
  Divisor image, line;
  TapPlace taps;

  WalkColumns(const T* images, const PixelWalk& walk)
      : images(images),
        N(walk.N),
        columns(walk.taps() * walk.channels),
        pitch(walk.groups * walk.channels),
        channels(walk.channels),
        in_h(walk.in_h),
        in_w(walk.in_w),
        grid_h(walk.grid_h),
        grid_w(walk.grid_w),
        first_h(walk.first_h),
        first_w(walk.first_w),
        step_h(walk.step_h),
        step_w(walk.step_w),
        tap_h(walk.tap_h),
        tap_w(walk.tap_w),
        image(walk.grid_h * walk.grid_w),
        line(walk.grid_w),
        taps(walk.channels, walk.taps_w) {
    constexpr int depth = 64 / sizeof(T);
    skip_n = depth / (grid_h * grid_w);
    skip_y = depth % (grid_h * grid_w) / grid_w;
    skip_x = depth % grid_w;
  }

  template <int slots>
  class Cursor {
   public:
    __device__ __forceinline__ Cursor(const WalkColumns& walk, int batch, int first_row,
                                      int first_k)
        : walk_(walk),
          images_(walk.images + int64_t{batch} * walk.channels),
          first_row_(first_row),
          first_k_(first_k) {}

    __device__ __forceinline__ void place(int slot, int row, int k) {
      int i, j;
      walk_.taps(first_row_ + row, i, j, channel_[slot]);
      if (first_row_ + row >= walk_.columns) i = -(1 << 30), channel_[slot] = 0;
      h_[slot] = i < 0 ? i : walk_.first_h + i * walk_.tap_h;
      w_[slot] = walk_.first_w + j * walk_.tap_w;
      uint32_t within, x;
      n_[slot] = static_cast<int>(walk_.image(static_cast<uint32_t>(first_k_ + k), within));
      y_[slot] = static_cast<int>(walk_.line(within, x));
      x_[slot] = static_cast<int>(x);
    }
    __device__ __forceinline__ gemm::Source<T> source(int slot) const {
      const int h = h_[slot] + y_[slot] * walk_.step_h, w = w_[slot] + x_[slot] * walk_.step_w;
      const bool valid = n_[slot] < walk_.N &&
                         static_cast<unsigned>(h) < static_cast<unsigned>(walk_.in_h) &&
                         static_cast<unsigned>(w) < static_cast<unsigned>(walk_.in_w);
      const int at = (n_[slot] * walk_.in_h + h) * walk_.in_w + w;
      return {images_ + int64_t{at} * walk_.pitch + channel_[slot], valid};
    }
    __device__ __forceinline__ void advance(int) {
#pragma unroll
      for (int slot = 0; slot < slots; ++slot) {
        x_[slot] += walk_.skip_x;
        y_[slot] += walk_.skip_y;
        n_[slot] += walk_.skip_n;
        if (x_[slot] >= walk_.grid_w) x_[slot] -= walk_.grid_w, ++y_[slot];
        if (y_[slot] >= walk_.grid_h) y_[slot] -= walk_.grid_h, ++n_[slot];
      }
    }

   private:
    const WalkColumns& walk_;
    const T* const images_;
    const int first_row_, first_k_;
    int channel_[slots], h_[slots], w_[slots], n_[slots], y_[slots], x_[slots];
  };
};

}  // namespace
}  // namespace emulsion::cuda
