// Convolution of stride 1 on Hopper, from tiles with a border: the kernel of conv2d_halo.cu for
// wgmma and bulk copies.
//
// A block computes 256 pixels by up to 128 filters. For each 64 channels one bulk copy brings the
// tile with its border, which serves all taps; their filters stream through a ring. So the
// second-level cache gives 170 to 200 operations per byte, where a copy for each tap gives 85.
//
// A tap is one shift of all pixels. Whether a matrix descriptor may begin between the eight rows of
// a swizzle no device has shown; ldmatrix takes any rows, one a lane, and wgmma takes A from
// registers. Tiles are at least 8 pixels wide, so that the eight rows of a phase are neighbours,
// whose 16-byte chunks the swizzle has spread over all banks. Fragments of the next 16 channels are
// read while the products of these run.
//
// Two warpgroups multiply 128 pixels each; a thread of a third one asks for copies. Blocks stay for
// several tiles, so that the copies of the next one run beside the epilogue.
#include "cuda/conv2d_hopper.cuh"

namespace emulsion::cuda {
namespace {

template <int columns_, int stages_>
struct HaloBlock {
  static constexpr int rows = 256, columns = columns_, stages = stages_, warps = 8;
  static constexpr int threads = 32 * (warps + 4);
  static constexpr int line = 2 * bulk_channels;  // bytes of a pixel, or of a filter
  static constexpr int most_pixels = 400, halo = most_pixels * line, stage = columns * line;
  static constexpr int ring = 2 * halo, barriers = ring + stages * stage;
  static constexpr size_t shared = barriers + (2 * stages + 4) * sizeof(uint64_t);
  static constexpr int longest_sum = 4096;  // as in gemm_tile.cuh
  static_assert(halo % 1024 == 0 && stage % 1024 == 0);
};

struct HaloPlan {
  TensorMap images;
  PixelTiles tiles;
  BulkFilters<gemm::Lines::deep> filters;
  int first_h, first_w, taps_h, taps_w;
  int halo_h, halo_w, halo_bytes;
  int blocks;  // of channels
  bool half;   // the last of them has 32 channels at most
};

template <class T, class Block, class Epilogue>
__global__ void __launch_bounds__(Block::threads, 1)
    halo_kernel(const __grid_constant__ HaloPlan plan, int items, Epilogue epilogue,
                gemm::Work work) {
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __trap();  // never launched
#else
  constexpr int stages = Block::stages;
  unsigned char* const halos = dynamic_shared();
  unsigned char* const ring = halos + Block::ring;
  uint64_t* const full = reinterpret_cast<uint64_t*>(halos + Block::barriers);
  uint64_t* const empty = full + stages;
  uint64_t* const halo_full = empty + stages;
  uint64_t* const halo_empty = halo_full + 2;
  const int warp = warp_index(), lane = lane_index();
  if (warp == Block::warps && lane == 0) {
    prefetch_map(plan.images);
    prefetch_map(plan.filters.map);
    init_ring<stages>(full, empty, 1, Block::warps);
    init_ring<2>(halo_full, halo_empty, 1, Block::warps);
    fence_mbarrier_init();
  }
  __syncthreads();

  const int taps = plan.taps_h * plan.taps_w;
  const auto end_of = [&](const gemm::Place& place) {
    return ::min((place.split + 1) * work.steps_per_split, plan.blocks);
  };
  RingPlace<stages> at;
  RingPlace<2> halo;
  if (warp >= Block::warps) {
    setmaxnreg_dec<56>();
    if (warp > Block::warps || lane != 0) return;
#pragma unroll 1
    for (int item = static_cast<int>(blockIdx.x); item < items;
         item += static_cast<int>(gridDim.x)) {
      const gemm::Place place(work, item);
      int n, y, x;
      plan.tiles(place.row_tile, n, y, x);
      const int end = end_of(place), column = place.column_tile * Block::columns;
#pragma unroll 1
      for (int block = place.split * work.steps_per_split; block < end; ++block, halo.advance()) {
        mbarrier_wait(halo_empty + halo.stage, halo.parity ^ 1);
        mbarrier_arrive_expect_tx(halo_full + halo.stage, plan.halo_bytes);
        bulk_load(halos + halo.stage * Block::halo, plan.images, halo_full + halo.stage,
                  {block * bulk_channels, plan.first_w + x, plan.first_h + y, n});
#pragma unroll 1
        for (int tap = 0; tap < taps; ++tap, at.advance()) {
          mbarrier_wait(empty + at.stage, at.parity ^ 1);
          mbarrier_arrive_expect_tx(full + at.stage, Block::stage);
          plan.filters.load<Block::columns>(ring + at.stage * Block::stage, full + at.stage, column,
                                            (block * taps + tap) * bulk_channels, 0);
        }
      }
    }
    return;
  }

  setmaxnreg_inc<224>();
  constexpr int carry_every = Block::longest_sum / bulk_channels, multipliers = 32 * Block::warps;
  const gemm::Descriptors<gemm::Lines::deep> filters(ring);
  // This lane's rows of the two products of 64, and where their pixels lie in a halo.
  const int first_row = warp / 4 * 128 + warp % 4 * 16;
  int pixel[2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const int row = first_row + 64 * m + lane % 16, line = row >> plan.tiles.log_w;
    const int y = line & ((1 << plan.tiles.log_h) - 1), image = line >> plan.tiles.log_h;
    pixel[m] = (image * plan.halo_h + y) * plan.halo_w + (row & ((1 << plan.tiles.log_w) - 1));
  }
  const auto carried = [&](int m) {
    return work.carried +
           (static_cast<int64_t>(blockIdx.x) * 2 + m) * (Block::columns / 8) * multipliers +
           threadIdx.x;
  };
  const auto give_back = [&](uint64_t* barrier) {
    if (lane == 0) mbarrier_arrive(barrier);
  };
  float sums[Block::columns];  // of both products, so that one wait is for all
  const auto of = [&](int m) -> float(&)[Block::columns / 2] {
    return reinterpret_cast<float(&)[Block::columns / 2]>(sums[m * (Block::columns / 2)]);
  };
#pragma unroll 1
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const gemm::Place place(work, item);
    int block = place.split * work.steps_per_split, i = 0, j = 0;
    int summed = 0;  // steps since the sums were empty
    bool has_carried = false;
#pragma unroll 1
    for (int left = (end_of(place) - block) * taps; left > 0; --left, at.advance()) {
      const bool first_tap = i == 0 && j == 0;
      const bool last_tap = i == plan.taps_h - 1 && j == plan.taps_w - 1;
      if (first_tap) mbarrier_wait(halo_full + halo.stage, halo.parity);
      mbarrier_wait(full + at.stage, at.parity);
      // Row, then its chunks: c lies at c ^ (row % 8).
      const unsigned char* row[2];
      int turn[2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const int p = pixel[m] + i * plan.halo_w + j;
        row[m] = halos + halo.stage * Block::halo + p * Block::line;
        turn[m] = (p % 8 ^ lane / 16) << 4;
      }
      uint32_t a[2][2][4];
      const auto load = [&](int k) {
#pragma unroll
        for (int m = 0; m < 2; ++m) ldmatrix_x4(a[k % 2][m], row[m] + (turn[m] ^ k << 5));
      };
      const auto multiply = [&]<int steps>() {
        load(0);
#pragma unroll
        for (int k = 0; k < steps; ++k) {
          wgmma_fence();
#pragma unroll
          for (int m = 0; m < 2; ++m)
            wgmma<T, Block::columns>(of(m), a[k % 2][m], filters(at.stage * Block::stage, k),
                                     summed > 0 || k > 0);
          wgmma_commit();
          wgmma_wait<1>();
          if (k == 0 && summed > 0) give_back(empty + at.previous());
          if (k + 1 < steps) load(k + 1);
        }
      };
      if (plan.half && block == plan.blocks - 1)
        multiply.template operator()<2>();
      else
        multiply.template operator()<4>();
      if (last_tap) {
        __syncwarp();
        give_back(halo_empty + halo.stage);
        halo.advance();
        ++block;
      }
      if (++j == plan.taps_w) {
        j = 0;
        if (++i == plan.taps_h) i = 0;
      }
      if (++summed == carry_every && work.carried && left > 1) {
        wgmma_wait<0>(sums);
        give_back(empty + at.stage);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          Pack<float>* const to = carried(m);
          const auto& sum = of(m);
          if (has_carried) gemm::add_carried(of(m), to, multipliers);
#pragma unroll
          for (int c = 0; c < Block::columns / 2; c += 4)
            to[c / 4 * multipliers] = {{sum[c], sum[c + 1], sum[c + 2], sum[c + 3]}};
        }
        has_carried = true;
        summed = 0;
      }
    }
    wgmma_wait<0>(sums);
    give_back(empty + at.previous());
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (has_carried) gemm::add_carried(of(m), carried(m), multipliers);
      gemm::hand_over<false>(of(m), place.row_tile * Block::rows + first_row + 64 * m,
                             place.column_tile * Block::columns, place, work, epilogue);
    }
  }
#endif
}

// The tiles by which this kernel gains on the portable ones, if they do. The least number of
// filters and the rates, multiply-adds per clock of a multiprocessor, are estimates that no device
// has confirmed.
std::optional<gemm::Choice> choose_tiles(const PixelWalk& walk, int64_t rows) {
  constexpr gemm::Candidate candidates[] = {
      {256, 128, 1700.0, 1.0}, {256, 112, 1650.0, 1.0}, {256, 96, 1600.0, 1.0}};
  if (walk.filters <= 64) return {};  // the portable kernel has narrower tiles
  const int64_t channels = ceil_div(walk.channels, 32) * 32;
  const gemm::Problem exact{walk.pixels(), walk.filters, int64_t{walk.taps()} * walk.channels};
  return gemm::choose_gain({rows, walk.filters, walk.taps() * channels}, exact, candidates,
                           bulk_channels);
}

}  // namespace

template <class T>
bool run_halo_hopper(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                     const ConvFinish<T>& finish) {
  constexpr int log_rows = 8, most_pixels = HaloBlock<128, 6>::most_pixels;
  const bool neighbours = walk.tap_h == 1 && walk.tap_w == 1 && walk.out_step_h == 1 &&
                          walk.out_step_w == 1 && walk.taps_h > 1 && walk.taps_w > 1;
  if (!neighbours || !walk.deep() || !bulk_images(walk) || !vectors(images, filters)) return false;
  const PixelTiles tiles = pixel_tiles(walk, log_rows, 3, most_pixels);
  if (tiles.count() == 0) return false;
  const int64_t rows = tiles.count() << log_rows, blocks = ceil_div(walk.channels, bulk_channels);
  const std::optional<gemm::Choice> choice = choose_tiles(walk, rows);
  if (!choice) return false;
  const TileEpilogue<T, 1 << log_rows> epilogue(walk, tiles, finish);
  const auto with = [&]<class Block>() {
    HaloPlan plan{{},
                  tiles,
                  bulk_filters<gemm::Lines::deep>(op, filters, walk, Block::columns),
                  walk.first_h,
                  walk.first_w,
                  walk.taps_h,
                  walk.taps_w,
                  (1 << tiles.log_h) + walk.taps_h - 1,
                  (1 << tiles.log_w) + walk.taps_w - 1,
                  0,
                  static_cast<int>(blocks),
                  (walk.channels - 1) % bulk_channels < 32};
    plan.images = image_map(op, images, walk.N, walk.in_h, walk.in_w, walk.channels,
                            {plan.halo_w, plan.halo_h, tiles.images});
    plan.halo_bytes = tiles.images * plan.halo_h * plan.halo_w * Block::line;
    const gemm::Problem problem{rows, walk.filters, blocks * bulk_channels * walk.taps()};
    gemm::Division division(
        op, problem, {Block::rows, Block::columns, bulk_channels * walk.taps()}, choice->splits,
        gemm::rounded_columns<WalkEpilogue<T>::width>(walk.filters), Block::longest_sum);
    const int64_t stay = std::min<int64_t>(division.items, limits().multiprocessors);
    division.carry(stay);
    launch(op, halo_kernel<T, Block, TileEpilogue<T, 1 << log_rows>>,
           Grid{dim3(static_cast<unsigned>(stay)), dim3(Block::threads), Block::shared}, plan,
           static_cast<int>(division.items), epilogue, division.work);
    division.add(op, epilogue);
  };
  switch (choice->tiles) {
    case 0: with.template operator()<HaloBlock<128, 6>>(); break;
    case 1: with.template operator()<HaloBlock<112, 7>>(); break;
    default: with.template operator()<HaloBlock<96, 8>>(); break;
  }
  return true;
}

template bool run_halo_hopper<bfloat16>(const char*, const bfloat16*, const bfloat16*,
                                        const PixelWalk&, const ConvFinish<bfloat16>&);
template bool run_halo_hopper<float16>(const char*, const float16*, const float16*,
                                       const PixelWalk&, const ConvFinish<float16>&);

}  // namespace emulsion::cuda
