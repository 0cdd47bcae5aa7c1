// The forward pass of 16-bit heads of up to 160 elements on Hopper (sm_90a), after FlashAttention-3
// (Shah et al., 2024).
//
// A block owns 128 queries of a head, 64 to each of two warpgroups. One thread of a third has the
// queries copied once, then tiles of 128 keys and of their values in turn, into a ring: 64 channels
// to a row of 128 bytes, swizzled, zeros where the tensor ends. Scores are products of shared
// memory; the weights stay in the registers that the scores came in, as the left operand of the
// product with the values, which wgmma reads transposed.
//
// The warpgroups take turns with the tensor cores: one has them add a tile's values and compute the
// next scores while the other is at its softmax, which is attention_forward.cuh's. At 64 channels
// both take 512 clocks a tile: below, exponentials are the roof (16 a clock), above, tensor cores.
#include "cuda/attention_forward.cuh"
#include "cuda/attention_hopper.cuh"

namespace emulsion::cuda::attention {
namespace {

template <int depth>
struct HopperForward : HopperBlock {
  static constexpr int keys = 128;
  static constexpr int slabs = (depth + 63) / 64;
  static constexpr int group = slabs * 64 * line;  // a warpgroup's queries
  static constexpr int tile = slabs * keys * line;
  static constexpr int stages = slabs > 2 ? 3 : 4;
  static constexpr int ring = 2 * group, barriers = ring + stages * tile;
  static constexpr size_t shared = barriers + (2 * stages + 1) * sizeof(uint64_t);
};

template <class Stored, int depth>
__global__ void __launch_bounds__(HopperBlock::threads, 1)
    hopper_forward_kernel(const __grid_constant__ TensorMap map_q,
                          const __grid_constant__ TensorMap map_k,
                          const __grid_constant__ TensorMap map_v, Inputs<Stored> in, int blocks,
                          Stored* y, float* lse) {
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __trap();  // never launched
#else
  using Shape = HopperForward<depth>;
  using Stage = Swizzled<depth>;  // of sums on their way out
  constexpr int stages = Shape::stages, keys = Shape::keys;
  const int block = static_cast<int>(blockIdx.x) % blocks;
  const int sequence = static_cast<int>(blockIdx.x) / blocks;  // of N * K
  const int n = sequence / in.K, head = sequence % in.K;
  const int warp = warp_index(), first = block * Shape::rows;
  unsigned char* const query_tiles = dynamic_shared();
  unsigned char* const ring = query_tiles + Shape::ring;
  uint64_t* const full = reinterpret_cast<uint64_t*>(query_tiles + Shape::barriers);
  uint64_t *const empty = full + stages, *const queries_full = empty + stages;
  if (warp == Shape::warps && lane_index() == 0) {
    prefetch_map(map_q);
    prefetch_map(map_k);
    prefetch_map(map_v);
    init_ring<stages>(full, empty, 1, Shape::warps);
    mbarrier_init(queries_full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  const Entry entry(in, n);

  RingPlace<stages> at;
  if (warp >= Shape::warps) {
    setmaxnreg_dec<24>();
    if (warp > Shape::warps || lane_index() != 0) return;
    mbarrier_arrive_expect_tx(queries_full, 2 * Shape::group);
#pragma unroll
    for (int i = 0; i < 2; ++i)
      load_head<Shape::slabs, 64>(query_tiles + i * Shape::group, map_q, queries_full, head,
                                  first + 64 * i, n);
    const auto load_next = [&](const TensorMap& map, int begin) {
      mbarrier_wait(empty + at.stage, at.parity ^ 1);
      mbarrier_arrive_expect_tx(full + at.stage, Shape::tile);
      load_head<Shape::slabs, keys>(ring + at.stage * Shape::tile, map, full + at.stage, head,
                                    begin, n);
      at.advance();
    };
#pragma unroll 1
    for (int begin = 0; begin < in.S; begin += keys) {
      load_next(map_k, begin);
      load_next(map_v, begin);
    }
    return;
  }

  setmaxnreg_inc<240>();
  const int group = warp / 4;
  unsigned char* const group_queries = query_tiles + group * Shape::group;
  const TileDescriptors<false> queries(group_queries), key_tiles(ring);
  const TileDescriptors<true, keys * Shape::line> value_tiles(ring);
  const auto give_back = [&](int stage) {
    if (lane_index() == 0) mbarrier_arrive(empty + stage);
  };

  // Never zero, so that a key that does not count stays at minus infinity when the scale is zero.
  const float factor = fmaxf(fabsf(entry.scale) * log2e, 1e-30f);
  float scores[1][keys / 8][4], sums[1][depth / 8][4];
  float peak[1][2] = {{-infinity, -infinity}}, total[1][2] = {};
  clear(sums);

  mbarrier_wait(queries_full, 0);
  const Turns turns(group);
  turns.take();
#pragma unroll 1
  for (int begin = 0; begin < in.S; begin += keys) {
    mbarrier_wait(full + at.stage, at.parity);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < depth / 16; ++k)
      wgmma<Stored, keys>(list(scores), queries(k / 4 * 64 * Shape::line, k % 4),
                          key_tiles(at.stage * Shape::tile + k / 4 * keys * Shape::line, k % 4),
                          k > 0);
    wgmma_commit();
    turns.pass();
    wgmma_wait<0>(list(scores));
    wgmma_wait<0>(list(sums));
    give_back(at.stage);
    if (begin > 0) give_back(at.previous());
    at.advance();

    if (entry.scale < 0) negate(scores);
    if (entry.mask || begin + keys > in.S) leave_out(scores, entry, begin, in.S);
    online_softmax(scores, peak, total, sums, factor);
    uint32_t weights[keys / 16][4];
    pack_weights<Stored>(weights, scores);

    mbarrier_wait(full + at.stage, at.parity);
    turns.take();
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < keys / 16; ++k)
      wgmma<Stored, depth, true>(list(sums), weights[k], value_tiles(at.stage * Shape::tile, k),
                                 true);
    wgmma_commit();
    at.advance();
  }
  turns.end();
  wgmma_wait<0>(list(sums));

  const int warp_row = first + 16 * warp;
  close_rows(lse + static_cast<int64_t>(sequence) * in.T, warp_row, in.T, factor, peak, total);
  sync_group(group);  // the queries have been read
  store_rows<Stage>(Rows<Stored>(y, n, head, in.T, in), warp_row,
                    group_queries + warp % 4 * 16 * Stage::row_bytes, sums, total);
#endif
}

}  // namespace

template <class Stored>
void hopper_forward(const Inputs<Stored>& in, Stored* y, float* lse) {
  dispatch_depth(in.D, [&]<int depth>() {
    using Shape = HopperForward<depth>;
    const int64_t blocks = ceil_div(in.T, Shape::rows);
    launch("attention", hopper_forward_kernel<Stored, depth>,
           Grid{dim3(static_cast<unsigned>(blocks * in.N * in.K)), dim3(Shape::threads),
                Shape::shared},
           head_map(in.q, in, in.T, 64), head_map(in.k, in, in.S, Shape::keys),
           head_map(in.v, in, in.S, Shape::keys), in, static_cast<int>(blocks), y, lse);
  });
}

template void hopper_forward(const Inputs<bfloat16>&, bfloat16*, float*);
template void hopper_forward(const Inputs<float16>&, float16*, float*);

}  // namespace emulsion::cuda::attention
