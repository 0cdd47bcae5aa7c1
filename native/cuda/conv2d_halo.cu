// Convolution of stride 1 on tensor cores, from tiles with a halo.
//
// A block computes tile_h x tile_w pixels of `images` images times a slice of the filters. For each
// block of channels (64 bytes of every pixel) it loads the input tile with its border once and
// multiplies all taps from there, so that L2 gives 100 to 200 FLOP per byte where a product that
// gathers each tap anew gets 64. The filters, [columns, 64 bytes] per tap, stream through a ring of
// cp.async stages; the border of the next block of channels arrives meanwhile, a slice per tap.
//
// A fragment's 16 rows are 16 pixels, and ldmatrix takes an address per row: a tap is one shift of
// all of them. Tiles are at least 8 pixels wide, so the 8 rows of a phase are neighbours; the
// 16-byte chunk c of pixel (or filter) i lies at c ^ (i / 2 % 4), which keeps loads and stores free
// of bank conflicts at every shift. One barrier per tap: fragments of the next one are read behind
// it while the last product of this one runs.
//
// Sums leave through shared memory, a warp's 16 pixels at a time, so that bias, residual and result
// move in whole lines. Few tiles with many channels are split over channels into float32 partials,
// which a second launch adds in order.
//
// float32 runs on TF32 cores: same chunks, same addresses, 8 deep instead of 16.
//
// This file is long because the choice of tiles belongs beside the kernel whose limits it knows.
#include "cuda/conv2d_geometry.cuh"
#include "cuda/gemm.cuh"

namespace emulsion::cuda {
namespace {

// How the pixels of a walk fall into tiles.
struct HaloTiles {
  int log_h, log_w, images;    // 2^log_h x 2^log_w pixels of so many images
  int halo_h, halo_w, pixels;  // the border included; pixels: of all images
  int columns, rows, stacks;   // tiles along x, y and the batch
  int64_t count() const { return int64_t{columns} * rows * stacks; }
};

struct HaloPlan {
  PixelWalk walk;
  HaloTiles tiles;
  Divisor of_slices, of_columns, of_rows;  // block index -> slice of filters, tile
  Divisor of_halo_image, of_halo_row;      // pixel of the halo -> image, row
  int rounds;                              // in which the block's threads load one halo
  int blocks, blocks_per_split;            // of channels
};

constexpr int halo_row = 64;  // bytes of one pixel, or of one filter, per block of channels
constexpr int halo_stages = 4;

template <class T, int warps_m_, int warps_n_, int m_tiles_, int n_tiles_>
struct HaloBlock {
  static constexpr int warps_m = warps_m_, warps_n = warps_n_;
  static constexpr int m_tiles = m_tiles_, n_tiles = n_tiles_;  // 16 pixels, 8 filters each
  static constexpr int threads = 32 * warps_m * warps_n;
  static constexpr int warp_filters = 8 * n_tiles, filters = warps_n * warp_filters;
  static constexpr int stage_bytes = filters * halo_row;
  // Floats between two rows of a finished fragment: 8 modulo 32 keeps pairs of floats free of bank
  // conflicts.
  static constexpr int out_pitch = warp_filters <= 8 ? 8 : warp_filters <= 40 ? 40 : 72;
  static constexpr int out_bytes = warps_m * warps_n * 16 * out_pitch * 4;

  static int64_t halo_bytes(const HaloTiles& tiles) {
    return ceil_div(tiles.pixels * halo_row, 128) * 128;
  }
  static int64_t shared_bytes(const HaloTiles& tiles) {
    return std::max<int64_t>(
        2 * halo_bytes(tiles) + halo_stages * stage_bytes + tiles.pixels * int64_t{4}, out_bytes);
  }
  static int rounds(const HaloTiles& tiles) {
    return static_cast<int>(ceil_div(tiles.pixels * 4, threads));
  }
};

__device__ __forceinline__ int halo_chunk(int row, int chunk) {
  return row * halo_row + ((chunk ^ (row / 2 % 4)) << 4);
}

template <class T, class Block>
__global__ void __launch_bounds__(Block::threads)
    halo_walk(const T* images, const T* filters, HaloPlan plan, WalkEpilogue<T> epilogue,
              float* partials) {
  constexpr int width = 16 / sizeof(T), depth = halo_row / sizeof(T);  // channels
  constexpr int width_out = WalkEpilogue<T>::width;
  constexpr int m_tiles = Block::m_tiles, n_tiles = Block::n_tiles;
  const PixelWalk& walk = plan.walk;
  const HaloTiles& tiles = plan.tiles;
  const int thread = static_cast<int>(threadIdx.x), lane = lane_index(), warp = warp_index();
  const int warp_m = warp / Block::warps_n, warp_n = warp % Block::warps_n;

  const int halo_bytes = (tiles.pixels * halo_row + 127) / 128 * 128;
  unsigned char* const halos = dynamic_shared();
  unsigned char* const stages = halos + 2 * halo_bytes;
  int* const places = reinterpret_cast<int*>(stages + halo_stages * Block::stage_bytes);

  // Slices of the filters vary fastest: blocks that run together share their pixels in L2.
  uint32_t slice, column, row;
  const uint32_t tile = plan.of_slices(blockIdx.x, slice);
  const uint32_t stack = plan.of_rows(plan.of_columns(tile, column), row);
  const int first_filter = static_cast<int>(slice) * Block::filters;
  const int first_image = static_cast<int>(stack) * tiles.images;
  const int first_y = static_cast<int>(row) << tiles.log_h;
  const int first_x = static_cast<int>(column) << tiles.log_w;
  const auto group = static_cast<int>(blockIdx.y);

  // Where each pixel of the halo lies, counted in pixels; -1 outside of the image.
  for (int i = thread; i < tiles.pixels; i += Block::threads) {
    uint32_t within, x;
    const int n =
        first_image + static_cast<int>(plan.of_halo_image(static_cast<uint32_t>(i), within));
    const int h = walk.first_h + first_y + static_cast<int>(plan.of_halo_row(within, x));
    const int w = walk.first_w + first_x + static_cast<int>(x);
    const bool inside = n < walk.N && h >= 0 && h < walk.in_h && w >= 0 && w < walk.in_w;
    places[i] = inside ? (n * walk.in_h + h) * walk.in_w + w : -1;
  }
  __syncthreads();

  const int taps = walk.taps();
  const int first_block = static_cast<int>(blockIdx.z) * plan.blocks_per_split;
  const int end_block = ::min(first_block + plan.blocks_per_split, plan.blocks);
  const int steps = (end_block - first_block) * taps;
  const int64_t pitch = int64_t{walk.groups} * walk.channels;
  const T* const group_images = images + int64_t{group} * walk.channels;

  const auto load_halo = [&](int round, int block, unsigned char* to) {
    const int i = round * Block::threads + thread, pixel = i >> 2, chunk = i & 3;
    if (pixel >= tiles.pixels) return;
    const int at = places[pixel], channel = block * depth + chunk * width;
    const bool valid = at >= 0 && channel < walk.channels;
    cp_async<16>(to + halo_chunk(pixel, chunk),
                 valid ? group_images + at * pitch + channel : group_images, valid);
  };

  // The filters of the step that is loaded next. A thread's rows are Block::threads / 4 apart.
  constexpr int filter_stride = Block::threads / 4;
  const int own_row = thread >> 2, own_chunk = thread & 3;
  const T* const own_filter = filters + int64_t{group} * walk.filter_group + walk.filter_first +
                              int64_t{first_filter + own_row} * walk.filter_row + own_chunk * width;
  int load_i = 0, load_j = 0, load_block = first_block, load_stage = 0;
  int64_t load_tap = int64_t{first_block} * depth;
  const auto load_filters = [&] {
    if (load_block >= end_block) return;
    unsigned char* const to = stages + load_stage * Block::stage_bytes;
    const bool channel_valid = load_block * depth + own_chunk * width < walk.channels;
#pragma unroll
    for (int i = 0; i < Block::filters; i += filter_stride) {
      if (Block::filters % filter_stride != 0 && own_row + i >= Block::filters) continue;
      const bool valid = channel_valid && first_filter + own_row + i < walk.filters;
      cp_async<16>(to + halo_chunk(own_row + i, own_chunk),
                   valid ? own_filter + load_tap + i * walk.filter_row : filters, valid);
    }
    load_stage = (load_stage + 1) % halo_stages;
    load_tap += walk.filter_w;
    if (++load_j < walk.taps_w) return;
    load_j = 0;
    load_tap += walk.filter_h - walk.taps_w * walk.filter_w;
    if (++load_i < walk.taps_h) return;
    load_i = 0;
    load_tap += depth - walk.taps_h * walk.filter_h;
    ++load_block;
  };

  // Rows of this lane's addresses for ldmatrix.
  int pixel[m_tiles];
#pragma unroll
  for (int i = 0; i < m_tiles; ++i) {
    const int m = (warp_m * m_tiles + i) * 16 + (lane & 15);
    const int x = m & ((1 << tiles.log_w) - 1), line = m >> tiles.log_w;
    const int y = line & ((1 << tiles.log_h) - 1), image = line >> tiles.log_h;
    pixel[i] = (image * tiles.halo_h + y) * tiles.halo_w + x;
  }
  const int pixel_chunk = lane >> 4, filter_chunk = lane >> 3 & 1;
  const int filter = warp_n * Block::warp_filters + (lane & 7) + (lane >> 4 << 3);

  float sums[m_tiles][n_tiles][4] = {};
  uint32_t a[2][m_tiles][4], b[2][(n_tiles + 1) / 2][4];
  const auto load_fragments = [&](int half, const unsigned char* halo, int shift, int stage) {
    const unsigned char* const from = stages + stage * Block::stage_bytes;
#pragma unroll
    for (int i = 0; i < m_tiles; ++i)
      ldmatrix_x4(a[half][i], halo + halo_chunk(pixel[i] + shift, 2 * half + pixel_chunk));
#pragma unroll
    for (int j = 0; j + 1 < n_tiles; j += 2)
      ldmatrix_x4(b[half][j / 2], from + halo_chunk(filter + 8 * j, 2 * half + filter_chunk));
    if constexpr (n_tiles % 2 == 1) {
      uint32_t last[2];
      ldmatrix_x2(last, from + halo_chunk(filter - (lane >> 4 << 3) + 8 * (n_tiles - 1),
                                          2 * half + filter_chunk));
      b[half][n_tiles / 2][0] = last[0];
      b[half][n_tiles / 2][1] = last[1];
    }
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < m_tiles; ++i)
#pragma unroll
        for (uint32_t& value : a[half][i]) value = cvt_rna_tf32(__uint_as_float(value));
#pragma unroll
      for (int j = 0; j < 2 * n_tiles; ++j) {
        uint32_t& value = b[half][j / 4][j % 4];
        value = cvt_rna_tf32(__uint_as_float(value));
      }
    }
  };
  const auto multiply = [&](int half) {
#pragma unroll
    for (int i = 0; i < m_tiles; ++i)
#pragma unroll
      for (int j = 0; j < n_tiles; ++j) {
        const uint32_t b0 = b[half][j / 2][j % 2 * 2], b1 = b[half][j / 2][j % 2 * 2 + 1];
        if constexpr (sizeof(T) == 4)
          mma_m16n8k8_tf32(sums[i][j], a[half][i], b0, b1);
        else
          mma_m16n8k16<T>(sums[i][j], a[half][i], b0, b1);
      }
  };

  for (int round = 0; round < plan.rounds; ++round) load_halo(round, first_block, halos);
#pragma unroll
  for (int i = 0; i < halo_stages - 1; ++i) {
    load_filters();
    cp_async_commit();
  }
  cp_async_wait<halo_stages - 2>();
  __syncthreads();

  int i = 0, j = 0, shift = 0, block = first_block;
  unsigned char *halo = halos, *next_halo = halos + halo_bytes;
  load_fragments(0, halo, 0, 0);
#pragma unroll 1
  for (int step = 0, stage = 0, tap = 0; step < steps; ++step) {
    load_fragments(1, halo, shift, stage);
    // The stage and the halo that are overwritten were last read before the barrier behind.
    load_filters();
    if (tap < plan.rounds && block + 1 < end_block) load_halo(tap, block + 1, next_halo);
    cp_async_commit();
    multiply(0);
    // The next step's filters are there, and its halo, whose last slice is older than two steps.
    cp_async_wait<halo_stages - 2>();
    __syncthreads();
    stage = (stage + 1) % halo_stages;
    ++tap, ++shift;
    if (++j == walk.taps_w) {
      j = 0;
      shift += tiles.halo_w - walk.taps_w;
      if (++i == walk.taps_h) {
        i = tap = shift = 0;
        ++block;
        unsigned char* const old = halo;
        halo = next_halo;
        next_halo = old;
      }
    }
    if (step + 1 < steps) load_fragments(0, halo, shift, stage);
    multiply(1);
  }
  cp_async_wait<0>();
  __syncthreads();

  auto* const out = reinterpret_cast<float*>(halos) + warp * 16 * Block::out_pitch;
  constexpr int per_pixel = Block::warp_filters / width_out;
  // partials: [splits, groups, pixels, filters rounded up]
  const int padded = gemm::rounded_columns<WalkEpilogue<T>::width>(walk.filters);
  const int64_t first_line = (int64_t{blockIdx.z} * walk.groups + group) * walk.pixels();
#pragma unroll
  for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
    for (int j = 0; j < n_tiles; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_pack(out + (lane / 4 + 8 * half) * Block::out_pitch + 8 * j + lane % 4 * 2,
                   Pack<float, 2>{{sums[i][j][2 * half], sums[i][j][2 * half + 1]}});
    __syncwarp();
    for (int item = lane; item < 16 * per_pixel; item += 32) {
      const int m = item / per_pixel, at_filter = item % per_pixel * width_out;
      const int at = (warp_m * m_tiles + i) * 16 + m;
      const int x = at & ((1 << tiles.log_w) - 1), line = at >> tiles.log_w;
      const int w = first_x + x, h = first_y + (line & ((1 << tiles.log_h) - 1));
      const int n = first_image + (line >> tiles.log_h);
      const int k = first_filter + warp_n * Block::warp_filters + at_filter;
      if (n >= walk.N || h >= walk.grid_h || w >= walk.grid_w || k >= walk.filters) continue;
      const int to = (n * walk.grid_h + h) * walk.grid_w + w;
      Pack<float, width_out> values =
          load_pack<float, width_out>(out + m * Block::out_pitch + at_filter);
      if (partials)
        store_pack(partials + (first_line + to) * padded + k, values);
      else
        gemm::finish(epilogue, group, to, k, walk.filters - k, values.values);
    }
    __syncwarp();
  }
}

// ---- the choice of tiles, a function of the shape alone wherever it decides the order of sums

// The tiling of M pixels with the fewest tiles, then the smallest border; count() == 0: none.
inline HaloTiles halo_tiles(const PixelWalk& walk, int M, int most_pixels) {
  HaloTiles best{};
  for (int log_w = 3; log_w <= 5; ++log_w)
    for (int log_h = 2; log_h <= 5; ++log_h) {
      const int tile = 1 << (log_h + log_w);
      if (tile > M) continue;
      HaloTiles t{};
      t.log_h = log_h;
      t.log_w = log_w;
      t.images = M / tile;
      t.halo_h = (1 << log_h) + walk.taps_h - 1;
      t.halo_w = (1 << log_w) + walk.taps_w - 1;
      t.pixels = t.images * t.halo_h * t.halo_w;
      t.columns = static_cast<int>(ceil_div(walk.grid_w, 1 << log_w));
      t.rows = static_cast<int>(ceil_div(walk.grid_h, 1 << log_h));
      t.stacks = static_cast<int>(ceil_div(walk.N, t.images));
      if (t.pixels > most_pixels) continue;
      if (best.pixels == 0 || t.count() < best.count() ||
          (t.count() == best.count() && t.pixels < best.pixels))
        best = t;
    }
  return best;
}

// Of the slice widths that are compiled, the one that costs least: what a slice multiplies, and as
// much as 32 filters for reading its pixels again.
inline int halo_slice(int filters) {
  int best = 0;
  int64_t least = 0;
  for (const int width : {128, 112, 96, 64, 32, 8}) {
    const int64_t cost = ceil_div(filters, width) * (width + 32);
    if (best == 0 || cost < least) best = width, least = cost;
  }
  return best;
}

struct HaloChoice {
  HaloTiles small, large;  // of 128 and of 256 pixels
  int slice, splits;
};

// Whether the kernel can compute a walk, and wastes little on it.
template <class T>
bool fits(const T* images, const T* filters, const PixelWalk& walk, HaloChoice& choice) {
  if (__is_same(T, float) && !tf32_allowed()) return false;
  const bool neighbours = walk.step_h == 1 && walk.step_w == 1 && walk.tap_h == 1 &&
                          walk.tap_w == 1 && walk.out_step_h == 1 && walk.out_step_w == 1;
  // A halo is loaded in one round per tap, and must be complete two taps before it is used.
  constexpr int depth = halo_row / sizeof(T);
  if (!neighbours || !walk.deep() || walk.taps() < 9 || walk.channels == 0 || walk.groups > 65535 ||
      walk.channels % (16 / sizeof(T)) != 0 || !vectors(images, filters))
    return false;
  const int rounds = walk.taps() - 2;
  choice.small = halo_tiles(walk, 128, std::min(rounds * 32, 512));
  choice.large = halo_tiles(walk, 256, std::min(rounds * 64, 512));
  if (choice.small.pixels == 0 || 3 * walk.pixels() < 2 * choice.small.count() * 128) return false;
  choice.slice = halo_slice(walk.filters);
  const int64_t blocks = ceil_div(walk.channels, depth);
  const int64_t tiles = choice.small.count() * ceil_div(walk.filters, choice.slice) * walk.groups;
  choice.splits = 1;
  if (tiles < 64)
    choice.splits =
        static_cast<int>(std::max<int64_t>(1, std::min({int64_t{8}, 128 / tiles, blocks / 2})));
  return true;
}

template <class T, class Block>
void launch_halo(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                 const HaloTiles& tiles, int splits, const WalkEpilogue<T>& epilogue) {
  const int64_t slices = ceil_div(walk.filters, Block::filters);
  HaloPlan plan{};
  plan.walk = walk;
  plan.tiles = tiles;
  plan.of_slices = Divisor(slices);
  plan.of_columns = Divisor(tiles.columns);
  plan.of_rows = Divisor(tiles.rows);
  plan.of_halo_image = Divisor(tiles.halo_h * tiles.halo_w);
  plan.of_halo_row = Divisor(tiles.halo_w);
  plan.rounds = Block::rounds(tiles);
  plan.blocks = static_cast<int>(ceil_div(walk.channels, halo_row / static_cast<int>(sizeof(T))));
  plan.blocks_per_split = static_cast<int>(ceil_div(plan.blocks, splits));
  splits = static_cast<int>(ceil_div(plan.blocks, plan.blocks_per_split));
  const Grid grid{dim3(static_cast<unsigned>(tiles.count() * slices),
                       static_cast<unsigned>(walk.groups), static_cast<unsigned>(splits)),
                  dim3(Block::threads), static_cast<size_t>(Block::shared_bytes(tiles))};
  if (splits == 1) {
    launch(op, halo_walk<T, Block>, grid, images, filters, plan, epilogue,
           static_cast<float*>(nullptr));
    return;
  }
  constexpr int width = WalkEpilogue<T>::width;
  const int64_t chunks = int64_t{walk.groups} * walk.pixels() * ceil_div(walk.filters, width);
  const Workspace partials(splits * chunks * width * static_cast<int64_t>(sizeof(float)));
  launch(op, halo_walk<T, Block>, grid, images, filters, plan, epilogue, partials.as<float>());
  launch(op, gemm::add_splits<WalkEpilogue<T>>, stream_grid(chunks), partials.as<float>(), splits,
         walk.groups, walk.pixels(), walk.filters, epilogue);
}

}  // namespace

template <class T>
bool run_halo(const char* op, const T* images, const T* filters, const PixelWalk& walk,
              const ConvFinish<T>& finish) {
  HaloChoice choice;
  if (!fits(images, filters, walk, choice)) return false;
  const int64_t slices = ceil_div(walk.filters, choice.slice);
  // TF32 fragments cost a conversion more: beside 128 sums per thread there is no room for them.
  constexpr bool wide = __is_same(T, float);
  using Small128 = std::conditional_t<wide, HaloBlock<T, 4, 2, 2, 8>, HaloBlock<T, 2, 2, 4, 8>>;
  using Large128 = std::conditional_t<wide, Small128, HaloBlock<T, 4, 2, 4, 8>>;
  // Large tiles read less, if there are enough of them to fill the device and they waste no more.
  const bool large = choice.splits == 1 && choice.large.pixels > 0 &&
                     !(wide && choice.slice == 128) &&
                     choice.large.count() * slices * walk.groups >= limits().multiprocessors &&
                     choice.large.count() * 2 <= choice.small.count() + choice.small.count() / 8;
  const WalkEpilogue<T> epilogue(walk, finish);
  const auto run = [&]<class Small, class Large>() {
    if (large)
      launch_halo<T, Large>(op, images, filters, walk, choice.large, 1, epilogue);
    else
      launch_halo<T, Small>(op, images, filters, walk, choice.small, choice.splits, epilogue);
  };
  switch (choice.slice) {
    case 128: run.template operator()<Small128, Large128>(); break;
    case 112: run.template operator()<HaloBlock<T, 2, 2, 4, 7>, HaloBlock<T, 4, 2, 4, 7>>(); break;
    case 96: run.template operator()<HaloBlock<T, 2, 2, 4, 6>, HaloBlock<T, 4, 2, 4, 6>>(); break;
    case 64: run.template operator()<HaloBlock<T, 2, 2, 4, 4>, HaloBlock<T, 4, 2, 4, 4>>(); break;
    case 32: run.template operator()<HaloBlock<T, 4, 1, 2, 4>, HaloBlock<T, 8, 1, 2, 4>>(); break;
    default: run.template operator()<HaloBlock<T, 4, 1, 2, 1>, HaloBlock<T, 8, 1, 2, 1>>(); break;
  }
  return true;
}

#define EMULSION_INSTANTIATE(T)                                                \
  template bool run_halo<T>(const char*, const T*, const T*, const PixelWalk&, \
                            const ConvFinish<T>&);
EMULSION_INSTANTIATE(float)
EMULSION_INSTANTIATE(bfloat16)
EMULSION_INSTANTIATE(float16)
#undef EMULSION_INSTANTIATE

}  // namespace emulsion::cuda
