// The backward pass of 16-bit heads of up to 160 elements on Hopper (sm_90a): the products of
// attention_backward.cuh, run over the keys for dk and dv and over the queries for dq.
//
// A block owns 128 rows (keys or queries), 64 to each of two warpgroups, and walks the other side
// in tiles that a warp copies into a ring, two tensors at a time. Scores and the gradients of the
// weights are products of shared memory; both become left operands in registers, and the same tiles
// are read once more, transposed, as right ones. Over keys, lse and delta of a tile's queries come
// with it, through the copying warp's registers.
//
// The warpgroups take turns as in the forward pass: one has the tensor cores add a tile's share to
// the gradients and multiply the next tile, while the other computes weights. Shared memory is the
// roof of the first two products (64 columns: 32 clocks to read, 32 to multiply), tensor cores of
// the others.
#include "cuda/attention_hopper.cuh"

namespace emulsion::cuda::attention {
namespace {

template <int depth, Side side>
struct HopperBackward : HopperBlock {
  static constexpr int columns = side == Side::keys && depth > 96 ? 32 : hopper_columns;
  static constexpr int slabs = (depth + 63) / 64;
  static constexpr int left = slabs * 64 * line, right = slabs * columns * line;  // a tile's bytes
  static constexpr int stages = columns < 64 ? 4 : slabs > 2 ? 2 : 3;
  static constexpr int ring = 4 * left, stage = 2 * right;
  static constexpr int statistics = ring + stages * stage;  // of a stage: lse, delta
  static constexpr int barriers =
      statistics + stages * 2 * columns * static_cast<int>(sizeof(float));
  static constexpr size_t shared = barriers + (2 * stages + 1) * sizeof(uint64_t);
};

// Left is the block's side, right the other; scores come of the first tensors, dP of the second.
struct BackwardMaps {
  TensorMap left[2], right[2];
};

template <class Stored, int depth, Side side>
__global__ void __launch_bounds__(HopperBlock::threads, 1)
    hopper_backward_kernel(const __grid_constant__ BackwardMaps maps, Inputs<Stored> in, Cut cut,
                           Gradients<Stored> out, Shares shares) {
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __trap();  // never launched
#else
  using Shape = HopperBackward<depth, side>;
  constexpr bool over_keys = side == Side::keys;
  constexpr int stages = Shape::stages, columns = Shape::columns, tiles = columns / 8;
  const int block = static_cast<int>(blockIdx.x) % cut.blocks;
  const int part = static_cast<int>(blockIdx.x) / cut.blocks % cut.parts;
  const int sequence = static_cast<int>(blockIdx.x) / cut.blocks / cut.parts;  // of N * K
  const int n = sequence / in.K, head = sequence % in.K;
  const int warp = warp_index(), first = block * Shape::rows;
  const int count = over_keys ? in.S : in.T, others = over_keys ? in.T : in.S;
  const int part_begin = part * cut.length, part_end = ::min(part_begin + cut.length, others);
  const float* const lse = in.lse + static_cast<int64_t>(sequence) * in.T;
  const float* const delta = in.delta + static_cast<int64_t>(sequence) * in.T;

  unsigned char* const left = dynamic_shared();  // of each warpgroup, one tensor after the other
  unsigned char* const ring = left + Shape::ring;
  float* const statistics = reinterpret_cast<float*>(left + Shape::statistics);
  uint64_t* const full = reinterpret_cast<uint64_t*>(left + Shape::barriers);
  uint64_t *const empty = full + stages, *const left_full = empty + stages;
  if (warp == Shape::warps && lane_index() == 0) {
    for (int i = 0; i < 2; ++i) {
      prefetch_map(maps.left[i]);
      prefetch_map(maps.right[i]);
    }
    init_ring<stages>(full, empty, 32, Shape::warps);
    mbarrier_init(left_full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  const Entry entry(in, n);

  RingPlace<stages> at;
  if (warp >= Shape::warps) {
    setmaxnreg_dec<24>();
    if (warp > Shape::warps) return;
    const int lane = lane_index();
    if (lane == 0) {
      mbarrier_arrive_expect_tx(left_full, 4 * Shape::left);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        load_head<Shape::slabs, 64>(left + i * Shape::left, maps.left[i % 2], left_full, head,
                                    first + i / 2 * 64, n);
    }
#pragma unroll 1
    for (int begin = part_begin; begin < part_end; begin += columns, at.advance()) {
      mbarrier_wait(empty + at.stage, at.parity ^ 1);
      if constexpr (over_keys)
#pragma unroll
        for (int i = lane; i < columns; i += 32) {
          const bool valid = begin + i < others;
          float* const to = statistics + at.stage * 2 * columns + i;
          to[0] = valid ? lse[begin + i] * log2e : 0;
          to[columns] = valid ? delta[begin + i] : 0;
        }
      if (lane > 0) {
        mbarrier_arrive(full + at.stage);
      } else {
        mbarrier_arrive_expect_tx(full + at.stage, Shape::stage);
#pragma unroll
        for (int i = 0; i < 2; ++i)
          load_head<Shape::slabs, columns>(ring + at.stage * Shape::stage + i * Shape::right,
                                           maps.right[i], full + at.stage, head, begin, n);
      }
      __syncwarp();
    }
    return;
  }

  setmaxnreg_inc<240>();
  const int group = warp / 4, g = lane_index() / 4, t = lane_index() % 4;
  const int warp_first = first + 16 * warp;
  const TileDescriptors<false> left_rows(left + group * 2 * Shape::left), right_rows(ring);
  const TileDescriptors<true, columns * Shape::line> right_turned(ring);
  const float factor = entry.scale * log2e;
  float row_lse[2] = {}, row_delta[2] = {};
  if constexpr (!over_keys)
#pragma unroll
    for (int h = 0; h < 2; ++h)
      if (const int row = warp_first + 8 * h + g; row < count) {
        row_lse[h] = lse[row] * log2e;
        row_delta[h] = delta[row];
      }
  float weighted[1][over_keys ? depth / 8 : 1][4], graded[1][depth / 8][4];  // P'·dy, dS·k or dS'·q
  float p[1][tiles][4], ds[1][tiles][4];
  clear(weighted);
  clear(graded);

  const auto multiply = [&](float(&c)[1][tiles][4], int which) {
#pragma unroll
    for (int k = 0; k < depth / 16; ++k)
      wgmma<Stored, columns>(
          list(c), left_rows(which * Shape::left + k / 4 * 64 * Shape::line, k % 4),
          right_rows(at.stage * Shape::stage + which * Shape::right + k / 4 * columns * Shape::line,
                     k % 4),
          k > 0);
  };
  const auto add = [&](float(&sums)[1][depth / 8][4], const uint32_t(&a)[tiles / 2][4], int which) {
#pragma unroll
    for (int k = 0; k < tiles / 2; ++k)
      wgmma<Stored, depth, true>(
          list(sums), a[k], right_turned(at.stage * Shape::stage + which * Shape::right, k), true);
  };
  const auto give_back = [&](int stage) {
    __syncwarp();  // all lanes have read their lse and delta
    if (lane_index() == 0) mbarrier_arrive(empty + stage);
  };

  mbarrier_wait(left_full, 0);
  const Turns turns(group);
  turns.take();
#pragma unroll 1
  for (int begin = part_begin; begin < part_end; begin += columns, at.advance()) {
    mbarrier_wait(full + at.stage, at.parity);
    wgmma_fence();
    multiply(p, 0);
    multiply(ds, 1);
    wgmma_commit();
    turns.pass();
    wgmma_wait<0>(list(p));
    wgmma_wait<0>(list(ds));
    wgmma_wait<0>(list(graded));
    if constexpr (over_keys) wgmma_wait<0>(list(weighted));
    if (begin > part_begin) give_back(at.previous());

    const float* const column_lse = statistics + at.stage * 2 * columns;
#pragma unroll
    for (int j = 0; j < tiles; ++j) {
      Pack<float, 2> lse_of{}, delta_of{};
      if constexpr (over_keys) {
        lse_of = load_pack<float, 2>(column_lse + 8 * j + 2 * t);
        delta_of = load_pack<float, 2>(column_lse + columns + 8 * j + 2 * t);
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float shift = over_keys ? lse_of.values[e % 2] : row_lse[e / 2];
        p[0][j][e] = ex2_approx(__fmaf_rn(p[0][j][e], factor, -shift));
        ds[0][j][e] -= over_keys ? delta_of.values[e % 2] : row_delta[e / 2];
      }
    }
    // Queries past the end are zeros and add nothing.
    if (!over_keys && (entry.mask || begin + columns > others))
      leave_out(p, entry, begin, others, 0.0f);
#pragma unroll
    for (int j = 0; j < tiles; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) ds[0][j][e] *= p[0][j][e];

    uint32_t weights[tiles / 2][4], slopes[tiles / 2][4];
    if constexpr (over_keys) pack_weights<Stored>(weights, p);
    pack_weights<Stored>(slopes, ds);
    turns.take();
    wgmma_fence();
    if constexpr (over_keys) add(weighted, weights, 1);
    add(graded, slopes, 0);
    wgmma_commit();
  }
  turns.end();
  wgmma_wait<0>(list(graded));
  if constexpr (over_keys) wgmma_wait<0>(list(weighted));
  sync_group(group);  // the rows have been read
  leave_gradients<side>(in, entry, n, head, part, warp_first,
                        left + group * 2 * Shape::left + warp % 4 * 16 * Swizzled<depth>::row_bytes,
                        out, shares, weighted, graded);
#endif
}

}  // namespace

template <Side side, class Stored>
void hopper_backward(const Inputs<Stored>& in, const Cut& cut, const Gradients<Stored>& out,
                     const Shares& shares) {
  dispatch_depth(in.D, [&]<int depth>() {
    using Shape = HopperBackward<depth, side>;
    constexpr bool over_keys = side == Side::keys;
    const auto left = [&](const Stored* tensor) {
      return head_map(tensor, in, over_keys ? in.S : in.T, 64);
    };
    const auto right = [&](const Stored* tensor) {
      return head_map(tensor, in, over_keys ? in.T : in.S, Shape::columns);
    };
    const BackwardMaps maps =
        over_keys ? BackwardMaps{{left(in.k), left(in.v)}, {right(in.q), right(in.dy)}}
                  : BackwardMaps{{left(in.q), left(in.dy)}, {right(in.k), right(in.v)}};
    launch("attention", hopper_backward_kernel<Stored, depth, side>,
           Grid{dim3(static_cast<unsigned>(int64_t{in.N} * in.K * cut.blocks * cut.parts)),
                dim3(Shape::threads), Shape::shared},
           maps, in, cut, out, shares);
  });
}

#define EMULSION_HOPPER_BACKWARD(Stored)                                              \
  template void hopper_backward<Side::keys>(const Inputs<Stored>&, const Cut&,        \
                                            const Gradients<Stored>&, const Shares&); \
  template void hopper_backward<Side::queries>(const Inputs<Stored>&, const Cut&,     \
                                               const Gradients<Stored>&, const Shares&);
EMULSION_HOPPER_BACKWARD(bfloat16)
EMULSION_HOPPER_BACKWARD(float16)

}  // namespace emulsion::cuda::attention
