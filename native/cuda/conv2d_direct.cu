// Convolutions whose groups are too narrow for a matrix tile (depthwise ones above all): one thread
// per result. Neighbouring lanes own neighbouring channels of one pixel, so images are read and
// written in whole lines; the few filters come from the cache. Bandwidth is the roof.
#include "cuda/conv2d_geometry.cuh"

namespace emulsion::cuda {
namespace {

constexpr int direct_pixels = 8;  // of a block of 32 channels each

template <class T>
__global__ void direct_walk(const T* images, const T* filters, PixelWalk walk, Divisor image,
                            Divisor row, Divisor group, ConvFinish<T> finish) {
  const int pixel = static_cast<int>(blockIdx.x) * direct_pixels + static_cast<int>(threadIdx.y);
  if (pixel >= walk.pixels()) return;
  uint32_t within, column;
  const auto n = static_cast<int>(image(static_cast<uint32_t>(pixel), within));
  const auto line = static_cast<int>(row(within, column));
  const int top = walk.first_h + line * walk.step_h;
  const int left = walk.first_w + static_cast<int>(column) * walk.step_w;
  const int64_t pitch = int64_t{walk.groups} * walk.channels;
  const int64_t to =
      (int64_t{n} * walk.out_h + walk.out_first_h + line * walk.out_step_h) * walk.out_w +
      walk.out_first_w + static_cast<int>(column) * walk.out_step_w;
  const auto pixel_of_y = finish.pixel(to, n);
  const int results = walk.groups * walk.filters;
  for (int k = static_cast<int>(blockIdx.y * 32 + threadIdx.x); k < results;
       k += static_cast<int>(gridDim.y * 32)) {
    uint32_t filter;
    const int64_t of = group(static_cast<uint32_t>(k), filter);
    const T* const weights =
        filters + of * walk.filter_group + walk.filter_first + filter * walk.filter_row;
    const T* const channels =
        images + int64_t{n} * walk.in_h * walk.in_w * pitch + of * walk.channels;
    float sum[1] = {0.0f};
    for (int i = 0; i < walk.taps_h; ++i) {
      const int h = top + i * walk.tap_h;
      if (h < 0 || h >= walk.in_h) continue;
      for (int j = 0; j < walk.taps_w; ++j) {
        const int w = left + j * walk.tap_w;
        if (w < 0 || w >= walk.in_w) continue;
        const T* const from = channels + (int64_t{h} * walk.in_w + w) * pitch;
        const T* const with = weights + i * walk.filter_h + j * walk.filter_w;
        for (int c = 0; c < walk.channels; ++c)
          sum[0] = fmaf(widen(from[c]), widen(with[c * walk.filter_channel]), sum[0]);
      }
    }
    const auto channel = finish.template columns<1>(k, 1);
    finish.store(pixel_of_y, channel, finish.load(pixel_of_y, channel), sum);
  }
}

// Sums over one of gridDim.z stretches of the output pixels: lanes own output channels, rows of the
// block own (tap, channel) columns of the filters.
template <class T>
__global__ void direct_weight(const T* dy, const T* x, PixelWalk walk, Divisor image, Divisor row,
                              Divisor group, Divisor tap, int stretch, float* partials) {
  const int columns = walk.taps() * walk.channels;
  const int k = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
  const int results = walk.groups * walk.filters;
  if (k >= results) return;
  uint32_t filter;
  const int64_t of = group(static_cast<uint32_t>(k), filter);
  const int64_t pitch = int64_t{walk.groups} * walk.channels;
  const int begin = static_cast<int>(blockIdx.z) * stretch;
  const int end = ::min(begin + stretch, walk.pixels());
  for (int at = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); at < columns;
       at += static_cast<int>(gridDim.y * blockDim.y)) {
    uint32_t channel, line, column;
    const auto place = static_cast<int>(tap(static_cast<uint32_t>(at), channel));
    const int top = walk.first_h + place / walk.taps_w * walk.tap_h;
    const int left = walk.first_w + place % walk.taps_w * walk.tap_w;
    float sum = 0.0f;
    for (int pixel = begin; pixel < end; ++pixel) {
      const int64_t n = image(static_cast<uint32_t>(pixel), line);
      line = row(line, column);
      const int h = top + static_cast<int>(line) * walk.step_h;
      const int w = left + static_cast<int>(column) * walk.step_w;
      if (h < 0 || h >= walk.in_h || w < 0 || w >= walk.in_w) continue;
      const int64_t from = ((n * walk.in_h + h) * walk.in_w + w) * pitch + of * walk.channels;
      sum =
          fmaf(widen(dy[static_cast<int64_t>(pixel) * results + k]), widen(x[from + channel]), sum);
    }
    partials[(static_cast<int64_t>(blockIdx.z) * results + k) * columns + at] = sum;
  }
}

template <class T>
__global__ void add_partials(const float* partials, int splits, int64_t count, T* result) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) sum += partials[split * count + i];
    result[i] = narrow<T>(sum);
  }
}

}  // namespace

template <class T>
void run_direct(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish) {
  const int64_t results = int64_t{walk.groups} * walk.filters;
  const Grid grid{dim3(static_cast<unsigned>(ceil_div(walk.pixels(), direct_pixels)),
                       static_cast<unsigned>(std::min(ceil_div(results, 32), int64_t{65535}))),
                  dim3(32, direct_pixels)};
  launch(op, direct_walk<T>, grid, images, filters, walk, Divisor(walk.grid_h * walk.grid_w),
         Divisor(walk.grid_w), Divisor(walk.filters), finish);
}

template <class T>
void run_direct_weight(const char* op, const T* dy, const T* x, const PixelWalk& walk, T* dweight) {
  const int64_t stretch = std::max(int64_t{256}, ceil_div(walk.pixels(), 64));
  const int64_t splits = ceil_div(walk.pixels(), stretch);
  const int64_t results = int64_t{walk.groups} * walk.filters;
  const int64_t columns = int64_t{walk.taps()} * walk.channels;
  const Workspace partials(splits * results * columns * static_cast<int64_t>(sizeof(float)));
  const Grid grid{dim3(static_cast<unsigned>(ceil_div(results, 32)),
                       static_cast<unsigned>(std::min(ceil_div(columns, 8), int64_t{65535})),
                       static_cast<unsigned>(splits)),
                  dim3(32, 8)};
  launch(op, direct_weight<T>, grid, dy, x, walk, Divisor(walk.grid_h * walk.grid_w),
         Divisor(walk.grid_w), Divisor(walk.filters), Divisor(walk.channels),
         static_cast<int>(stretch), partials.as<float>());
  launch(op, add_partials<T>, stream_grid(results * columns), partials.as<float>(),
         static_cast<int>(splits), results * columns, dweight);
}

#define EMULSION_INSTANTIATE(T)                                                  \
  template void run_direct<T>(const char*, const T*, const T*, const PixelWalk&, \
                              const ConvFinish<T>&);                             \
  template void run_direct_weight<T>(const char*, const T*, const T*, const PixelWalk&, T*);
EMULSION_INSTANTIATE(float)
EMULSION_INSTANTIATE(bfloat16)
EMULSION_INSTANTIATE(float16)
#undef EMULSION_INSTANTIATE

}  // namespace emulsion::cuda
