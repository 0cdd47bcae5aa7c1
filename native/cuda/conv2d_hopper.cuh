// What the convolutions of Hopper share: how bulk copies see images and filters. Pixels of a walk
// in tiles of 2^log_w x 2^log_h in some images, 64 channels at a time.
//
// What a tap reads for a tile is one box of the image. Coordinates may be negative, and zeros come
// for what lies outside: of the image, of its channels, or of the batch.
#pragma once

#include "cuda/conv2d_geometry.cuh"
#include "cuda/gemm.cuh"

namespace emulsion::cuda {

constexpr int bulk_channels = 64;  // 128 bytes, one line of a tile

// How the pixels of a walk fall into tiles. Those of a tile go line by line down strips that are
// 2^log_strip pixels wide, image by image.
struct PixelTiles {
  int log_w, log_h, images, log_strip;
  int columns, rows, stacks;  // tiles along x, y and the batch
  Divisor of_columns, of_rows;

  int64_t count() const { return int64_t{columns} * rows * stacks; }

  // The first pixel of a tile.
  __device__ __forceinline__ void operator()(int tile, int& n, int& y, int& x) const {
    uint32_t column, row;
    n = static_cast<int>(of_rows(of_columns(static_cast<uint32_t>(tile), column), row)) * images;
    y = static_cast<int>(row) << log_h;
    x = static_cast<int>(column) << log_w;
  }
};

// Tiles of 2^log_tile pixels, in one strip; or of whole strips of 2^log_strip x 2^log_strip, that
// read `most` pixels with their border at most. The fewest, then those that read least.
// count() == 0: none.
inline PixelTiles pixel_tiles(const PixelWalk& walk, int log_tile, int log_strip = 0,
                              int64_t most = int64_t{1} << 40) {
  PixelTiles best{};
  int64_t least = 0;
  for (int log_w = log_tile - log_strip; log_w >= log_strip; --log_w)
    for (int log_h = log_tile - log_w; log_h >= log_strip; --log_h) {
      PixelTiles t{};
      t.log_w = log_w;
      t.log_h = log_h;
      t.log_strip = log_strip > 0 ? log_strip : log_w;
      t.images = 1 << (log_tile - log_w - log_h);
      t.columns = static_cast<int>(ceil_div(walk.grid_w, 1 << log_w));
      t.rows = static_cast<int>(ceil_div(walk.grid_h, 1 << log_h));
      t.stacks = static_cast<int>(ceil_div(walk.N, t.images));
      const int64_t read = int64_t{t.images} * ((1 << log_w) + (walk.taps_w - 1) * walk.tap_w) *
                           ((1 << log_h) + (walk.taps_h - 1) * walk.tap_h);
      if (read > most) continue;
      if (least == 0 || t.count() < best.count() || (t.count() == best.count() && read < least))
        best = t, least = read;
    }
  if (least == 0) return best;
  best.of_columns = Divisor(best.columns);
  best.of_rows = Divisor(best.rows);
  return best;
}

// Boxes of pixels in images [N, height, width, channels], by (channel, x, y, n).
struct PixelBox {
  int w, h, images;
};
template <class T>
TensorMap image_map(const char* op, const T* images, int64_t N, int64_t height, int64_t width,
                    int64_t channels, const PixelBox& box) {
  constexpr int64_t size = sizeof(T);
  const int64_t pixel = channels * size, line = width * pixel;
  return make_tensor_map(op, images, gemm::bulk_dtype<T>,
                         {4,
                          {channels, width, height, N},
                          {size, pixel, line, height * line},
                          {bulk_channels, box.w, box.h, box.images},
                          128});
}

// A step along the depth: its tap and its first channel.
struct TapSteps {
  Divisor of_taps, of_row;

  explicit TapSteps(const PixelWalk& walk) : of_taps(walk.taps()), of_row(walk.taps_w) {}

  __device__ __forceinline__ void operator()(int k, int& i, int& j, int& channel) const {
    uint32_t tap, across;
    channel =
        bulk_channels * static_cast<int>(of_taps(static_cast<uint32_t>(k) / bulk_channels, tap));
    i = static_cast<int>(of_row(tap, across));
    j = static_cast<int>(across);
  }
};

// Filters by (channels, tap), whose taps may count down: an operand of hopper_kernel. Wide ones are
// those whose channels are far apart, as the gradient of the input finds them.
template <gemm::Lines lines_>
struct BulkFilters {
  static constexpr gemm::Lines lines = lines_;
  static_assert(lines != gemm::Lines::paired);
  TensorMap map;
  TapSteps steps;
  int first_i, first_j, step_i, step_j;

  template <int extent>
  __device__ __forceinline__ void load(unsigned char* tile, uint64_t* full, int row, int k,
                                       int) const {
    int i, j, channel;
    steps(k, i, j, channel);
    i = first_i + i * step_i;
    j = first_j + j * step_j;
    if constexpr (lines == gemm::Lines::deep) {
      bulk_load(tile, map, full, {channel, row, j, i});
    } else {
#pragma unroll
      for (int at = 0; at < extent; at += bulk_channels)
        bulk_load(tile + at * 2 * bulk_channels, map, full, {row + at, channel, j, i});
    }
  }
};

template <gemm::Lines lines, class T>
BulkFilters<lines> bulk_filters(const char* op, const T* filters, const PixelWalk& walk,
                                int columns) {
  constexpr int64_t size = sizeof(T);
  // Strides of a tensor map are positive: it begins at the tap that lies first in memory.
  const bool up_h = walk.filter_h > 0, up_w = walk.filter_w > 0;
  const int last_i = walk.taps_h - 1, last_j = walk.taps_w - 1;
  const T* const first = filters + walk.filter_first + (up_h ? 0 : last_i * walk.filter_h) +
                         (up_w ? 0 : last_j * walk.filter_w);
  constexpr bool deep = lines == gemm::Lines::deep;
  const TensorBox box{4,
                      {deep ? walk.channels : walk.filters, deep ? walk.filters : walk.channels,
                       walk.taps_w, walk.taps_h},
                      {size, (deep ? walk.filter_row : walk.filter_channel) * size,
                       std::abs(walk.filter_w) * size, std::abs(walk.filter_h) * size},
                      {bulk_channels, deep ? columns : bulk_channels, 1, 1},
                      128};
  return {make_tensor_map(op, first, gemm::bulk_dtype<T>, box),
          TapSteps(walk),
          up_h ? 0 : last_i,
          up_w ? 0 : last_j,
          up_h ? 1 : -1,
          up_w ? 1 : -1};
}

// Rows are pixels of tiles; those outside of the grid lie nowhere.
template <class T, int tile_pixels>
struct TileEpilogue {
  static constexpr int width = WalkEpilogue<T>::width;
  using Pixel = typename WalkEpilogue<T>::Pixel;
  using Channels = typename WalkEpilogue<T>::Channels;
  using Added = typename WalkEpilogue<T>::Added;

  WalkEpilogue<T> walk;
  PixelTiles tiles;
  int N, grid_h, grid_w;

  TileEpilogue(const PixelWalk& walk, const PixelTiles& tiles, const ConvFinish<T>& finish)
      : walk(walk, finish), tiles(tiles), N(walk.N), grid_h(walk.grid_h), grid_w(walk.grid_w) {}

  __device__ __forceinline__ Pixel row(int, int row) const {
    int n, y, x;
    tiles(row / tile_pixels, n, y, x);
    const auto low = [](int value, int bits) { return value & ((1 << bits) - 1); };
    const int pixel = row % tile_pixels, line = pixel >> tiles.log_strip,
              strip = line >> tiles.log_h, log_strips = tiles.log_w - tiles.log_strip;
    x += low(pixel, tiles.log_strip) + (low(strip, log_strips) << tiles.log_strip);
    y += low(line, tiles.log_h);
    n += strip >> log_strips;
    return n < N && y < grid_h && x < grid_w ? walk.pixel(n, y, x) : Pixel{-1, 0};
  }
  __device__ __forceinline__ Channels columns(int batch, int column, int left) const {
    return walk.columns(batch, column, left);
  }
  __device__ __forceinline__ Added load(const Pixel& pixel, const Channels& at) const {
    return pixel.at < 0 ? Added{} : walk.load(pixel, at);
  }
  __device__ __forceinline__ void store(const Pixel& pixel, const Channels& at, const Added& added,
                                        float (&v)[width]) const {
    if (pixel.at >= 0) walk.store(pixel, at, added, v);
  }
};

// Whether bulk copies can bring what a walk reads, 16-bit channels in whole 16 bytes.
inline bool bulk_images(const PixelWalk& walk) {
  return hopper_level() && walk.groups == 1 && walk.step_h == 1 && walk.step_w == 1 &&
         walk.taps() > 0 && walk.in_h > 0 && walk.in_w > 0 && walk.channels > 0 &&
         walk.channels % 8 == 0;
}

}  // namespace emulsion::cuda
