// The one engine of matrix products:
//
//   C(m, n) = Σk A(m, k) · B(n, k)
//
// in float32, handed to an epilogue four or eight columns at a time.
//
// 2·M·N·K operations on (M + N)·K + M·N elements: tensor cores are the roof from some hundreds of
// rows and columns on, shared memory below (hence warps of 64 x 64, 4 KB read per 64 x 64 x 16),
// bandwidth where one side is thin. Blocks walk the depth through a ring of tiles filled by
// cp.async (gemm_tile.cuh), one barrier per 64 bytes of depth; lanes exchange sums on their way
// out, so that an epilogue sees rows and moves 16 bytes at a time. Two blocks of 128 x 128 use
// every register of a multiprocessor: their kernels spill a few words a thread, the float32 ones up
// to twenty.
//
// An operand is a loader, a kernel argument that knows where tile elements lie. Matrix is the plain
// one; an implicit product writes its own:
//
//   struct Loader {
//     using Element = T;
//     static constexpr bool deep;  // contiguous along k, else along the rows
//     static constexpr int width;  // elements per copy: 16 bytes, or one element
//
//     // In registers: a thread's copies of one tile.
//     template <int slots> struct Cursor {
//       // Of the block's first tile.
//       Cursor(const Loader&, int batch, int first_row, int first_k);
//       // The slot copies tile element (row, k) and the width - 1 next along the contiguous axis.
//       void place(int slot, int row, int k);
//       // Where they are now; invalid: zeros.
//       Source<T> source(int slot) const;
//       // All slots go on along k.
//       void advance(int depth);
//     };
//   };
//
// The slots of a deep loader's thread have one k. A copy of several elements exists as a whole or
// not at all. An epilogue is a kernel argument too:
//
//   struct Epilogue {
//     static constexpr int width;  // 4 or 8: columns come in groups of as many
//     // What the results of a row have in common, and those of a group of columns, of which
//     // `left` exist, maybe fewer than the width.
//     Row row(int batch, int row) const;
//     Columns columns(int batch, int column, int left) const;
//     // What the results in both need from memory, asked for ahead.
//     Added load(const Row&, const Columns&) const;
//     // v is its own.
//     void store(const Row&, const Columns&, const Added&, float (&v)[width]) const;
//   };
//
// Of a row beyond the last one nothing but row() is called.
//
// On Hopper plain matrices of 16-bit elements go to gemm_hopper.cuh, where the shape gains by it.
//
// Where the result has too few tiles, the depth is split: partial sums go to scratch memory, a
// second launch adds them in order. How far is a function of the shape alone, so results do not
// depend on the device. Tensor cores truncate where they add: after 4096 of depth their sums are
// added to scratch memory in plain float32.
#pragma once

#include "cuda/gemm_hopper.cuh"
#include "cuda/gemm_plan.cuh"

namespace emulsion::cuda::gemm {

template <Unit unit, class Tiles, class A, class B, class Epilogue>
void run(const char* op, const A& a, const B& b, const Epilogue& epilogue, const Problem& p,
         int splits) {
  using P = Plan<unit, typename A::Element, Tiles, A::deep, B::deep>;
  check_extents(op, p);
  Division division(op, p, {Tiles::rows, Tiles::columns, P::TileA::depth}, splits,
                    rounded_columns<Epilogue::width>(static_cast<int>(p.columns)),
                    P::Math::longest_sum);
  division.carry(division.items);
  launch(op, gemm_kernel<unit, Tiles, A, B, Epilogue>,
         Grid{dim3(static_cast<unsigned>(division.items)), dim3(Tiles::threads), P::shared}, a, b,
         epilogue, division.work);
  division.add(op, epilogue);
}

// Tiles by unit; stages x 64 bytes of depth. The float32 ones come in 256 threads of 8 x 8 sums,
// 128 of 8 x 4.
using Tiles128 = BlockTiles<128, 128, 2, 2, 4, 2>;
using Tiles112 = BlockTiles<128, 112, 2, 2, 4, 2>;  // channels come in multiples of 224 and 320,
using Tiles96 = BlockTiles<128, 96, 2, 2, 4, 2>;    // of 192 too
using Tiles64 = BlockTiles<64, 64, 2, 2, 4, 4>;
using Tiles64Slow = BlockTiles<64, 64, 2, 2, 3, 2>;
using Fma128 = BlockTiles<128, 128, 4, 2, 3, 2>;
using Fma64 = BlockTiles<64, 64, 2, 2, 3, 4>;

// C = A · Bᵀ over all batches, with the unit and the tiles that suit the shape. Operands that copy
// element by element get small tiles.
template <class A, class B, class Epilogue>
void multiply(const char* op, const A& a, const B& b, const Epilogue& epilogue, const Problem& p) {
  using T = typename A::Element;
  static_assert(__is_same(T, typename B::Element));
  if constexpr (Boxed<A> && Boxed<B>)
    if (multiply_hopper(op, a, b, epilogue, p)) return;
  constexpr int chunk = 16 / sizeof(T), tile_depth = 64 / sizeof(T);
  constexpr bool whole = A::width == chunk && B::width == chunk;
  const auto with = [&]<Unit unit, class Tiles>(int splits) {
    run<unit, Tiles>(op, a, b, epilogue, p, splits);
  };
  if constexpr (!whole) {
    constexpr Candidate candidates[] = {{64, 64, __is_same(T, float) ? 70.0 : 300.0}};
    const Choice choice = choose(p, candidates, tile_depth);
    constexpr Unit unit = __is_same(T, float) ? Unit::fma : Unit::tensor_cores;
    using Tiles = std::conditional_t<__is_same(T, float), Fma64, Tiles64Slow>;
    with.template operator()<unit, Tiles>(choice.splits);
  } else if constexpr (__is_same(T, float)) {
    if (tf32_allowed()) {
      constexpr Candidate candidates[] = {{128, 128, 550.0}, {64, 64, 300.0}};
      const Choice choice = choose(p, candidates, tile_depth);
      if (choice.tiles == 0)
        with.template operator()<Unit::tensor_cores, Tiles128>(choice.splits);
      else
        with.template operator()<Unit::tensor_cores, Tiles64>(choice.splits);
    } else {
      constexpr Candidate candidates[] = {{128, 128, 100.0}, {64, 64, 80.0}};
      const Choice choice = choose(p, candidates, tile_depth);
      if (choice.tiles == 0)
        with.template operator()<Unit::fma, Fma128>(choice.splits);
      else
        with.template operator()<Unit::fma, Fma64>(choice.splits);
    }
  } else if constexpr (!A::deep && B::deep) {  // rare: few kernels
    constexpr Candidate candidates[] = {{128, 128, 1100.0}, {64, 64, 600.0}};
    const Choice choice = choose(p, candidates, tile_depth);
    if (choice.tiles == 0)
      with.template operator()<Unit::tensor_cores, Tiles128>(choice.splits);
    else
      with.template operator()<Unit::tensor_cores, Tiles64>(choice.splits);
  } else {
    const Choice choice = choose(p, portable_tiles, tile_depth);
    switch (choice.tiles) {
      case 0: return with.template operator()<Unit::tensor_cores, Tiles128>(choice.splits);
      case 1: return with.template operator()<Unit::tensor_cores, Tiles112>(choice.splits);
      case 2: return with.template operator()<Unit::tensor_cores, Tiles96>(choice.splits);
      default: return with.template operator()<Unit::tensor_cores, Tiles64>(choice.splits);
    }
  }
}

}  // namespace emulsion::cuda::gemm
