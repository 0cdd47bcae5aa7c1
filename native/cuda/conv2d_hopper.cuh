// How bulk copies see images (conv2d_hopper.cu, conv2d_weight_hopper.cu): pixels of a walk in tiles
// of 2^log_w x 2^log_h in some images, 64 channels at a time.
//
// What a tap reads for a tile is one box of the image. Coordinates may be negative, and zeros come
// for what lies outside: of the image, of its channels, or of the batch.
#pragma once

#include "cuda/conv2d_geometry.cuh"
#include "cuda/gemm.cuh"

namespace emulsion::cuda {

constexpr int bulk_channels = 64;  // 128 bytes, one line of a tile

// How the pixels of a walk fall into tiles.
struct PixelTiles {
  int log_w, log_h, images;
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

// Tiles of 2^log_tile pixels: the fewest; then those that read the smallest border.
inline PixelTiles pixel_tiles(const PixelWalk& walk, int log_tile) {
  PixelTiles best{};
  int64_t least = 0;
  for (int log_w = log_tile; log_w >= 0; --log_w)
    for (int log_h = log_tile - log_w; log_h >= 0; --log_h) {
      PixelTiles t{};
      t.log_w = log_w;
      t.log_h = log_h;
      t.images = 1 << (log_tile - log_w - log_h);
      t.columns = static_cast<int>(ceil_div(walk.grid_w, 1 << log_w));
      t.rows = static_cast<int>(ceil_div(walk.grid_h, 1 << log_h));
      t.stacks = static_cast<int>(ceil_div(walk.N, t.images));
      const int64_t read = int64_t{t.images} * ((1 << log_w) + (walk.taps_w - 1) * walk.tap_w) *
                           ((1 << log_h) + (walk.taps_h - 1) * walk.tap_h);
      if (least == 0 || t.count() < best.count() || (t.count() == best.count() && read < least))
        best = t, least = read;
    }
  best.of_columns = Divisor(best.columns);
  best.of_rows = Divisor(best.rows);
  return best;
}

// Boxes of a tile's pixels in images [N, height, width, channels], by (channel, x, y, n).
template <class T>
TensorMap image_map(const char* op, const T* images, int64_t N, int64_t height, int64_t width,
                    int64_t channels, const PixelTiles& tiles) {
  constexpr int64_t size = sizeof(T);
  const int64_t pixel = channels * size, line = width * pixel;
  return make_tensor_map(op, images, gemm::bulk_dtype<T>,
                         {4,
                          {channels, width, height, N},
                          {size, pixel, line, height * line},
                          {bulk_channels, 1 << tiles.log_w, 1 << tiles.log_h, tiles.images},
                          128});
}

// Whether bulk copies can bring what a walk reads, 16-bit channels in whole 16 bytes.
inline bool bulk_images(const PixelWalk& walk) {
  return hopper_level() && walk.groups == 1 && walk.step_h == 1 && walk.step_w == 1 &&
         walk.taps() > 0 && walk.in_h > 0 && walk.in_w > 0 && walk.channels > 0 &&
         walk.channels % 8 == 0;
}

}  // namespace emulsion::cuda
