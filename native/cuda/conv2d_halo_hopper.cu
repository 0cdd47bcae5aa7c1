// Convolution of stride 1 on Hopper, from tiles with a border that serve all taps.
//
// A block computes 128 pixels by up to 256 filters. For each 64 channels one bulk copy brings the
// tile with its border; the filters of each tap stream through a ring. A step of 128 x 256 x 64 of
// a 3x3 filter then asks the second-level cache for 34.5 KB, where a copy for each tap takes 48:
// 119 operations per byte instead of 85.
//
// A tap is one shift of all pixels, and so the place where a matrix descriptor begins: 8 rows of an
// operand are 8 neighbours of one line, the next 8 rows lie a line of the border's rectangle
// further. So the 64 rows of a warpgroup are a strip of 8 x 8 pixels, and two strips make a tile,
// side by side, one below the other or in two images.
//
// Ring, way out of the sums and blocks that stay for several tiles are those of gemm_hopper.cuh. A
// tile is given back, as a stage is, when the first product that does not read it is under way.
#include "cuda/conv2d_hopper_plan.cuh"

namespace emulsion::cuda {
namespace {

constexpr int halo_line = 2 * bulk_channels;  // bytes of a pixel, or of a filter

// Where things lie in shared memory: two tiles with their border, the ring of filters, barriers.
template <class Tiles>
struct HaloMemory {
  static constexpr int halo = most_halo_pixels * halo_line, stage = Tiles::columns * halo_line;
  static constexpr int ring = 2 * halo, barriers = ring + Tiles::stages * stage;
  static constexpr size_t shared = barriers + (2 * Tiles::stages + 4) * sizeof(uint64_t);
  static_assert(halo % 1024 == 0 && stage % 1024 == 0);
};

template <class Filters>
struct HaloPlan {
  TensorMap images;
  PixelTiles tiles;
  Filters filters;
  int first_h, first_w, taps_h, taps_w;
  int pixels_w;      // of a line of the tile with its border
  int second_strip;  // pixels from the first strip's to the second's
  int bytes;         // of the tile with its border
  int blocks;        // of channels
  bool half;         // the last of them has 32 channels at most
};

template <class T, class Tiles, class Filters, class Epilogue>
__global__ void __launch_bounds__(Tiles::threads, 1)
    halo_kernel(const __grid_constant__ HaloPlan<Filters> plan, int items, Epilogue epilogue,
                gemm::Work work) {
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __trap();  // never launched
#else
  using Memory = HaloMemory<Tiles>;
  constexpr int stages = Tiles::stages;
  unsigned char* const halos = dynamic_shared();
  unsigned char* const ring = halos + Memory::ring;
  uint64_t* const full = reinterpret_cast<uint64_t*>(halos + Memory::barriers);
  uint64_t* const empty = full + stages;
  uint64_t* const halo_full = empty + stages;
  uint64_t* const halo_empty = halo_full + 2;
  const int warp = warp_index(), lane = lane_index();
  if (warp == Tiles::warps && lane == 0) {
    prefetch_map(plan.images);
    prefetch_map(plan.filters.map);
    init_ring<stages>(full, empty, 1, Tiles::warps);
    init_ring<2>(halo_full, halo_empty, 1, Tiles::warps);
    fence_mbarrier_init();
  }
  __syncthreads();

  const int taps = plan.taps_h * plan.taps_w;
  const auto end_of = [&](const gemm::Place& place) {
    return ::min((place.split + 1) * work.steps_per_split, plan.blocks);
  };
  RingPlace<stages> at;
  RingPlace<2> halo;
  if (warp >= Tiles::warps) {
    setmaxnreg_dec<56>();
    if (warp > Tiles::warps || lane != 0) return;
#pragma unroll 1
    for (int item = static_cast<int>(blockIdx.x); item < items;
         item += static_cast<int>(gridDim.x)) {
      const gemm::Place place(work, item);
      int n, y, x;
      plan.tiles(place.row_tile, n, y, x);
      const int end = end_of(place), column = place.column_tile * Tiles::columns;
#pragma unroll 1
      for (int block = place.split * work.steps_per_split; block < end; ++block, halo.advance()) {
        mbarrier_wait(halo_empty + halo.stage, halo.parity ^ 1);
        mbarrier_arrive_expect_tx(halo_full + halo.stage, plan.bytes);
        bulk_load(halos + halo.stage * Memory::halo, plan.images, halo_full + halo.stage,
                  {block * bulk_channels, plan.first_w + x, plan.first_h + y, n});
#pragma unroll 1
        for (int tap = 0; tap < taps; ++tap, at.advance()) {
          mbarrier_wait(empty + at.stage, at.parity ^ 1);
          mbarrier_arrive_expect_tx(full + at.stage, Memory::stage);
          plan.filters.template load<Tiles::columns>(ring + at.stage * Memory::stage,
                                                     full + at.stage, column,
                                                     (block * taps + tap) * bulk_channels, 0);
        }
      }
    }
    return;
  }

  setmaxnreg_inc<224>();
  constexpr int carry_every = Tiles::longest_sum / bulk_channels, multipliers = 32 * Tiles::warps;
  const TileDescriptors<false> pixels(halos + warp / 4 * plan.second_strip * halo_line,
                                      plan.pixels_w * halo_line);
  const gemm::Descriptors<Filters::lines> filters(ring);
  const auto carried = [&] {
    return work.carried + static_cast<int64_t>(blockIdx.x) * (Tiles::columns / 8) * multipliers +
           threadIdx.x;
  };
  const auto give_back = [&](uint64_t* barrier) {
    if (lane == 0) mbarrier_arrive(barrier);
  };
  float sums[Tiles::columns / 2];
#pragma unroll 1
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const gemm::Place place(work, item);
    int summed = 0;  // steps since the sums were empty
    bool has_carried = false;
    // Of the step before; `block_done`: it was the last of its channels.
    const auto give_back_before = [&](bool block_done) {
      give_back(empty + at.previous());
      if (block_done) give_back(halo_empty + halo.previous());
    };
    const auto complete = [&](bool block_done) {
      wgmma_wait<0>(sums);
      give_back_before(block_done);
      if (has_carried) gemm::add_carried(sums, carried(), multipliers);
    };
    const int end = end_of(place);
#pragma unroll 1
    for (int block = place.split * work.steps_per_split; block < end; ++block, halo.advance()) {
      const bool half = plan.half && block == plan.blocks - 1;
      int shift = halo.stage * Memory::halo, across = 0;  // of the tap's pixels
      mbarrier_wait(halo_full + halo.stage, halo.parity);
#pragma unroll 1
      for (int tap = 0; tap < taps; ++tap, at.advance()) {
        if (summed == carry_every && work.carried) {
          complete(tap == 0);
#pragma unroll
          for (int i = 0; i < Tiles::columns / 2; i += 4)
            carried()[i / 4 * multipliers] = {{sums[i], sums[i + 1], sums[i + 2], sums[i + 3]}};
          has_carried = true;
          summed = 0;
        }
        const auto multiply = [&]<int steps>() {
          wgmma_fence();
#pragma unroll
          for (int k = 0; k < steps; ++k)
            wgmma<T, Tiles::columns, false, Filters::lines == gemm::Lines::wide>(
                sums, pixels(shift, k), filters(at.stage * Memory::stage, k), summed > 0 || k > 0);
          wgmma_commit();
        };
        mbarrier_wait(full + at.stage, at.parity);
        if (half)
          multiply.template operator()<bulk_channels / 32>();
        else
          multiply.template operator()<bulk_channels / 16>();
        wgmma_wait<1>();
        if (summed > 0) give_back_before(tap == 0);
        ++summed;
        shift += halo_line;
        if (++across == plan.taps_w) {
          across = 0;
          shift += (plan.pixels_w - plan.taps_w) * halo_line;
        }
      }
    }
    complete(true);
    gemm::hand_over<true>(sums, place.row_tile * Tiles::rows + 16 * warp,
                          place.column_tile * Tiles::columns, place, work, epilogue);
  }
#endif
}

template <gemm::Lines lines, class T>
void run_lines(const char* op, const T* images, const T* filters, const PixelWalk& walk,
               const ConvFinish<T>& finish, const HopperChoice& choice) {
  using Epilogue = TileEpilogue<T, tile_pixels>;
  using Filters = BulkFilters<lines>;
  const PixelTiles& tiles = choice.tiles;
  const Epilogue epilogue(walk, tiles, finish);
  const int pixels_h = (1 << tiles.log_h) + walk.taps_h - 1,
            pixels_w = (1 << tiles.log_w) + walk.taps_w - 1,
            blocks = static_cast<int>(ceil_div(walk.channels, bulk_channels));
  with_staying_tiles<lines>(choice.columns, [&]<class Tiles>() {
    const HaloPlan<Filters> plan{image_map(op, images, walk.N, walk.in_h, walk.in_w, walk.channels,
                                           {pixels_w, pixels_h, tiles.images}),
                                 tiles,
                                 bulk_filters<lines>(op, filters, walk, Tiles::columns),
                                 walk.first_h,
                                 walk.first_w,
                                 walk.taps_h,
                                 walk.taps_w,
                                 pixels_w,
                                 tiles.images > 1               ? pixels_h * pixels_w
                                 : tiles.log_w > log_halo_strip ? 1 << log_halo_strip
                                                                : pixels_w << log_halo_strip,
                                 tiles.images * pixels_h * pixels_w * halo_line,
                                 blocks,
                                 (walk.channels - 1) % bulk_channels < bulk_channels / 2};
    const int depth = bulk_channels * walk.taps();
    gemm::Division division(
        op, {tiles.count() * tile_pixels, walk.filters, int64_t{depth} * blocks},
        {Tiles::rows, Tiles::columns, depth}, choice.splits,
        gemm::rounded_columns<Epilogue::width>(walk.filters), Tiles::longest_sum);
    const int64_t count = std::min<int64_t>(division.items, limits().multiprocessors);
    division.carry(count);
    launch(
        op, halo_kernel<T, Tiles, Filters, Epilogue>,
        Grid{dim3(static_cast<unsigned>(count)), dim3(Tiles::threads), HaloMemory<Tiles>::shared},
        plan, static_cast<int>(division.items), epilogue, division.work);
    division.add(op, epilogue);
  });
}

}  // namespace

template <class T>
bool run_halo_hopper(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                     const ConvFinish<T>& finish) {
  if (!bulk_images(walk) || walk.taps() == 1 || !vectors(images, filters)) return false;
  const std::optional<HopperChoice> choice = choose_halo(walk);
  if (!choice) return false;
  if (walk.deep())
    run_lines<gemm::Lines::deep>(op, images, filters, walk, finish, *choice);
  else
    run_lines<gemm::Lines::wide>(op, images, filters, walk, finish, *choice);
  return true;
}

template bool run_halo_hopper<bfloat16>(const char*, const bfloat16*, const bfloat16*,
                                        const PixelWalk&, const ConvFinish<bfloat16>&);
template bool run_halo_hopper<float16>(const char*, const float16*, const float16*,
                                       const PixelWalk&, const ConvFinish<float16>&);

}  // namespace emulsion::cuda
