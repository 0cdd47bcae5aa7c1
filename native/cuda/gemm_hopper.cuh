// Matrix products of 16-bit operands on Hopper (sm_90a), where the tensor cores read shared memory
// themselves and want it filled without a thread's work.
//
// A block is a thread that asks for bulk copies, alone in its warp or warpgroup, and two warpgroups
// that multiply, 64 rows each, over a ring of tiles 128 bytes deep, 128-byte swizzled. Per stage
// one mbarrier says that the copies have come, another that both warpgroups have read it; a stage
// is given back one step late, so that the next product is under way already. Copies fill what lies
// outside of a matrix with zeros.
//
// A step of 128 x 256 x 64 takes 1024 clocks of tensor cores at their peak and 48 KB from the
// second-level cache: 85 operations per byte. Such blocks stay for several tiles, so that the
// copies of the next one run beside the epilogue. 128 x 128, for smaller shapes, has 64 operations
// per byte; two blocks share a multiprocessor, one's epilogue beside the other's products.
//
// Operands may lie either way round (wgmma takes 16-bit tiles transposed). Sums leave with the
// epilogues and the splits of gemm_leave.cuh: exchanged by shuffles where a block stays; where two
// share the registers, through shared memory, in the place of the ring that has been read.
#pragma once

#include "cuda/gemm_plan.cuh"
#include "cuda/hopper_ring.cuh"
#include "cuda/tensor_map.h"

namespace emulsion::cuda::gemm {

// Blocks that have a multiprocessor to themselves stay for several tiles.
template <int columns_, int stages_, int residents_>
struct HopperTiles {
  static constexpr int rows = 128, columns = columns_, depth = 64;
  static constexpr int stages = stages_, residents = residents_;
  static constexpr bool stays = residents == 1;
  static constexpr int warps = 8;  // that multiply
  // Registers change hands by whole warpgroups; where there are enough, one warp copies.
  static constexpr int threads = 32 * (warps + (stays ? 4 : 1));

  static constexpr int line = 128;  // bytes
  static constexpr int tile_a = rows * line, stage = tile_a + columns * line;
  static constexpr int ring = stages * stage;
  static constexpr int slab = 16 * slab_pitch(columns);  // of the sums of a warp, in floats
  static constexpr size_t shared = ring + 2 * stages * sizeof(uint64_t);
  static constexpr int longest_sum = 4096;  // as in gemm_tile.cuh
};

// An operand as the kernel takes it: it asks for tiles, `extent` rows from `row` and 64 deep from
// `k`. A also says which of its tiles are half as deep, followed by zeros. This one is a matrix;
// implicit products bring their own (conv2d_hopper.cu).
template <Lines lines_>
struct BulkMatrix {
  static constexpr Lines lines = lines_;
  TensorMap map;
  bool batched;  // else one matrix for all batches

  __device__ __forceinline__ bool half(int) const { return false; }

  template <int extent>
  __device__ __forceinline__ void load(unsigned char* tile, uint64_t* full, int row, int k,
                                       int batch) const {
    if constexpr (lines == Lines::deep) {
      bulk_load(tile, map, full, {k, row, batched ? batch : 0});
    } else if constexpr (lines == Lines::paired) {
      bulk_load(tile, map, full, {k, 0, 0, row / 8});
    } else {
#pragma unroll
      for (int i = 0; i < extent; i += 64)
        bulk_load(tile + i * 128, map, full, {row + i, k, batched ? batch : 0});
    }
  }
};

// Descriptors of the 64 rows of A, or all of B, at a place of the ring and a step of 16 along the
// depth.
template <Lines lines>
using Descriptors = TileDescriptors<lines == Lines::wide>;

// The sums of a warp as hand_over takes them through a slab.
template <int columns_>
struct WarpSums {
  static constexpr int rows = 16, columns = columns_;
  const float* sums;

  __device__ __forceinline__ void put(int, float* to, int pitch) const {
    const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int j = 0; j < columns / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_pack(to + (g + 8 * half) * pitch + 8 * j + 2 * t,
                   Pack<float, 2>{{sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]}});
  }
};

// Adds what was carried before.
template <int count>
__device__ __forceinline__ void add_carried(float (&sums)[count], const Pack<float>* carried,
                                            int threads) {
#pragma unroll
  for (int i = 0; i < count; i += 4) {
    if (i % 16 == 0) __syncwarp();  // so that not all of it is loaded at once
    const Pack<float> before = carried[i / 4 * threads];
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[i + e] += before.values[e];
  }
}

template <class T, class Tiles, class A, class B, class Epilogue>
__global__ void __launch_bounds__(Tiles::threads, Tiles::residents)
    hopper_kernel(const __grid_constant__ A a, const __grid_constant__ B b, int items,
                  Epilogue epilogue, Work work) {
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __trap();  // never launched
#else
  constexpr int stages = Tiles::stages;
  unsigned char* const ring = dynamic_shared();
  uint64_t* const full = reinterpret_cast<uint64_t*>(ring + Tiles::ring);
  uint64_t* const empty = full + stages;
  const int warp = warp_index();
  if (warp == Tiles::warps && lane_index() == 0) {
    prefetch_map(a.map);
    prefetch_map(b.map);
    init_ring<stages>(full, empty, 1, Tiles::warps);
    fence_mbarrier_init();
  }
  __syncthreads();

  const auto steps_of = [&](const Place& place) {
    return ::min(work.steps_per_split, work.steps - place.split * work.steps_per_split);
  };
  RingPlace<stages> at;
  if (warp >= Tiles::warps) {
    if constexpr (Tiles::stays) setmaxnreg_dec<56>();
    if (warp > Tiles::warps || lane_index() != 0) return;
#pragma unroll 1
    for (int item = static_cast<int>(blockIdx.x); item < items;
         item += static_cast<int>(gridDim.x)) {
      const Place place(work, item);
      const int row = place.row_tile * Tiles::rows, column = place.column_tile * Tiles::columns;
      int k = place.split * work.steps_per_split * Tiles::depth;
#pragma unroll 1
      for (int step = steps_of(place); step > 0; --step, k += Tiles::depth, at.advance()) {
        unsigned char* const tile = ring + at.stage * Tiles::stage;
        mbarrier_wait(empty + at.stage, at.parity ^ 1);
        mbarrier_arrive_expect_tx(full + at.stage, Tiles::stage);
        a.template load<Tiles::rows>(tile, full + at.stage, row, k, place.batch);
        b.template load<Tiles::columns>(tile + Tiles::tile_a, full + at.stage, column, k,
                                        place.batch);
      }
    }
    return;
  }

  if constexpr (Tiles::stays) setmaxnreg_inc<224>();
  constexpr int carry_every = Tiles::longest_sum / Tiles::depth, group_bytes = 64 * Tiles::line;
  constexpr int multipliers = 32 * Tiles::warps;
  const Descriptors<A::lines> tiles_a(ring + warp / 4 * group_bytes);
  const Descriptors<B::lines> tiles_b(ring + Tiles::tile_a);
  const auto carried = [&] {
    return work.carried + static_cast<int64_t>(blockIdx.x) * (Tiles::columns / 8) * multipliers +
           threadIdx.x;
  };
  const auto give_back = [&](int stage) {
    if (lane_index() == 0) mbarrier_arrive(empty + stage);
  };
  float sums[Tiles::columns / 2];
#pragma unroll 1
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const Place place(work, item);
    int summed = 0;  // steps since the sums were empty
    bool has_carried = false;
    int depth = place.split * work.steps_per_split * Tiles::depth;
#pragma unroll 1
    for (int left = steps_of(place); left > 0; --left, depth += Tiles::depth, at.advance()) {
      const auto multiply = [&]<int steps>() {
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < steps; ++k)
          wgmma<T, Tiles::columns, A::lines == Lines::wide, B::lines == Lines::wide>(
              sums, tiles_a(at.stage * Tiles::stage, k), tiles_b(at.stage * Tiles::stage, k),
              summed > 0 || k > 0);
        wgmma_commit();
      };
      mbarrier_wait(full + at.stage, at.parity);
      if (a.half(depth))
        multiply.template operator()<Tiles::depth / 32>();
      else
        multiply.template operator()<Tiles::depth / 16>();
      wgmma_wait<1>();
      if (summed > 0) give_back(at.previous());
      if (++summed == carry_every && work.carried && left > 1) {
        wgmma_wait<0>(sums);
        give_back(at.stage);
        if (has_carried) add_carried(sums, carried(), multipliers);
#pragma unroll
        for (int i = 0; i < Tiles::columns / 2; i += 4)
          carried()[i / 4 * multipliers] = {{sums[i], sums[i + 1], sums[i + 2], sums[i + 3]}};
        has_carried = true;
        summed = 0;
      }
    }
    wgmma_wait<0>(sums);
    give_back(at.previous());
    if (has_carried) add_carried(sums, carried(), multipliers);
    const int row = place.row_tile * Tiles::rows + 16 * warp,
              column = place.column_tile * Tiles::columns;
    if constexpr (Tiles::stays) {
      hand_over<true>(sums, row, column, place, work, epilogue);
    } else {
      static_assert(Tiles::warps * Tiles::slab * sizeof(float) <= Tiles::ring);
      barrier_sync(1, multipliers);  // the ring has been read
      hand_over(WarpSums<Tiles::columns>{sums}, reinterpret_cast<float*>(ring) + warp * Tiles::slab,
                row, column, place, work, epilogue);
      return;
    }
  }
#endif
}

template <class T>
constexpr DType bulk_dtype = __is_same(T, bfloat16) ? DType::bfloat16 : DType::float16;

template <class T, class Tiles, class A, class B, class Epilogue>
void run_hopper(const char* op, const A& a, const B& b, const Epilogue& epilogue, const Problem& p,
                int splits) {
  static_assert(B::lines != Lines::wide || Tiles::columns % 64 == 0);
  Division division(op, p, {Tiles::rows, Tiles::columns, Tiles::depth}, splits,
                    rounded_columns<Epilogue::width>(static_cast<int>(p.columns)),
                    Tiles::longest_sum);
  const int64_t blocks =
      Tiles::stays ? std::min<int64_t>(division.items, limits().multiprocessors) : division.items;
  division.carry(blocks);
  launch(op, hopper_kernel<T, Tiles, A, B, Epilogue>,
         Grid{dim3(static_cast<unsigned>(blocks)), dim3(Tiles::threads), Tiles::shared}, a, b,
         static_cast<int>(division.items), epilogue, division.work);
  division.add(op, epilogue);
}

using Hopper256 = HopperTiles<256, 4, 1>;
using Hopper128 = HopperTiles<128, 3, 2>;

// Loaders that bulk copies can stand in for.
template <class Loader>
concept Boxed = sizeof(typename Loader::Element) == 2 && Loader::width == 8 &&
                requires(const Loader& loader) { loader.boxes(1, 1); };

// The product, if this device and this shape gain by it; else nothing, and false.
template <class A, class B, class Epilogue>
bool multiply_hopper(const char* op, const A& a, const B& b, const Epilogue& epilogue,
                     const Problem& p) {
  constexpr Candidate portable[] = {{128, 128, 1100.0}, {64, 64, 600.0}},
                      candidates[] = {{128, 256, 1700.0, 1.0}, {128, 128, 1450.0, 1.3}};
  if (!hopper_level() || p.depth == 0) return false;
  const Choice choice = choose(p, candidates, 64);
  if (choice.clocks >= choose(p, portable, 32).clocks) return false;
  const auto with = [&]<class Tiles>() {
    const auto boxes = [](const auto& operand, int extent) {
      using Found = typename std::decay_t<decltype(operand)>::Found;
      return operand.boxes(64, Found::lines == Lines::wide ? 64 : extent);
    };
    const auto boxes_a = boxes(a, Tiles::rows);
    const auto boxes_b = boxes(b, Tiles::columns);
    if (!boxes_a || !boxes_b) return false;
    using T = typename A::Element;
    const auto matrix = [&]<Lines lines>(const Boxes<lines>& of) {
      return BulkMatrix<lines>{make_tensor_map(op, of.base, bulk_dtype<T>, of.box), of.batched};
    };
    run_hopper<T, Tiles>(op, matrix(*boxes_a), matrix(*boxes_b), epilogue, p, choice.splits);
    return true;
  };
  return choice.tiles == 0 ? with.template operator()<Hopper256>()
                           : with.template operator()<Hopper128>();
}

}  // namespace emulsion::cuda::gemm
