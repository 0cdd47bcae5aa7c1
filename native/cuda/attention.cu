// Scaled dot-product attention: checks, the choice of a path, launches.
//
//   16-bit, D <= 160   attention_forward.cuh, attention_backward.cuh: one head size per kernel, all
//                      sums in registers
//                      where Hopper gains by them: attention_hopper.cu,
//                      attention_hopper_backward.cu
//   16-bit, larger D   attention_wide.cuh on tensor cores
//   float32            attention_wide.cuh with fused multiply-adds
//   one key            attention_single.cuh
// No path stores T x S weights. The grids, and with them the order of every sum, depend on shapes
// alone.
#include "ops/attention.h"

#include "cuda/attention_forward.cuh"
#include "cuda/attention_hopper.h"
#include "cuda/attention_single.cuh"
#include "cuda/attention_wide.cuh"
#include "cuda/host.h"
#include "ops/cast.h"

namespace emulsion::cuda {
namespace {

using namespace attention;

using Sizes = AttentionSizes;

Sizes checked_sizes(const View& q, const View& k, const View& v, const View& mask, const View& y,
                    const View& lse) {
  constexpr int64_t longest = INT32_MAX - 1024;  // tiles may reach past the end
  const Sizes sizes = attention_sizes(q, k, v, mask, y, lse, longest);
  EMULSION_CHECK(sizes.N * sizes.K * (ceil_div(sizes.T, 64) + ceil_div(sizes.S, 64)) <= INT32_MAX,
                 "attention: too many sequences and heads for one launch");
  return sizes;
}

template <class Stored>
Inputs<Stored> inputs_of(const Sizes& sizes, const View& q, const View& k, const View& v,
                         const View& mask, double scale) {
  Inputs<Stored> in{};
  in.q = q.as<Stored>();
  in.k = k.as<Stored>();
  in.v = v.as<Stored>();
  in.mask = mask ? mask.as<uint8_t>() : nullptr;
  in.N = static_cast<int>(sizes.N);
  in.T = static_cast<int>(sizes.T);
  in.S = static_cast<int>(sizes.S);
  in.K = static_cast<int>(sizes.K);
  in.D = static_cast<int>(sizes.D);
  in.scale = static_cast<float>(scale);
  in.packs = sizes.D * dtype_size(q.dtype) % 16 == 0 && vectors(q.data, k.data, v.data);
  return in;
}

// Calls body.template operator()<Engine>() with the engine of attention_wide.cuh. Two products at
// once leave registers for half the scores.
template <class Stored, Pass pass, class Body>
void dispatch_engine(int64_t D, Body&& body) {
  constexpr bool two = pass == Pass::query_grad || pass == Pass::key_grad;
  if constexpr (!__is_same(Stored, float))
    body.template operator()<TensorEngine<Stored, two ? 64 : 128>>();
  else if (D <= 64)
    body.template operator()<PlainEngine<64>>();
  else
    body.template operator()<PlainEngine<256>>();
}

dim3 grid_of(int64_t blocks) { return dim3(static_cast<unsigned>(blocks)); }

// Parts of at least `shortest` of the other side where there are too few blocks to go round.
Cut cut_of(int64_t sequences, int64_t blocks, int64_t slabs, int64_t others, int64_t tile,
           int64_t shortest) {
  constexpr int64_t enough = 128, wanted = 256, most = 16;
  const int64_t work = std::max<int64_t>(sequences * blocks * slabs, 1);
  int64_t parts = 1;
  if (work < enough) parts = std::min({ceil_div(wanted, work), ceil_div(others, shortest), most});
  parts = std::max<int64_t>(parts, 1);
  const int64_t length = std::max<int64_t>(ceil_div(ceil_div(others, parts), tile), 1) * tile;
  return {static_cast<int>(blocks),
          static_cast<int>(std::max<int64_t>(ceil_div(others, length), 1)),
          static_cast<int>(length)};
}

template <class Engine>
WideCut wide_cut_of(const Sizes& sizes, int64_t rows, int64_t others) {
  const int64_t slabs = ceil_div(sizes.D, Engine::width);
  const int64_t width = ceil_div(ceil_div(sizes.D, slabs), 64) * 64;
  return {cut_of(sizes.N * sizes.K, ceil_div(rows, 64), slabs, others, Engine::columns, 256),
          static_cast<int>(slabs), static_cast<int>(width)};
}

// Sums the parts' shares of a gradient.
template <class Stored>
void add_shares(const float* shares, const View& y, int64_t parts) {
  const int64_t count = y.numel();
  if (count % 4 == 0 && vectors(y.data))
    launch("attention", sum_parts<Stored, 4>, stream_grid(count / 4), shares, y.as<Stored>(), count,
           static_cast<int>(parts));
  else
    launch("attention", sum_parts<Stored, 1>, stream_grid(count), shares, y.as<Stored>(), count,
           static_cast<int>(parts));
}

int64_t share_bytes(const View& y, int64_t parts) {
  return parts > 1 && y ? parts * y.numel() * int64_t{sizeof(float)} : 16;
}

// ---- forward

template <class Stored, int depth, int atoms>
void launch_forward(const Inputs<Stored>& in, View& y, View& lse) {
  using Tile = ForwardTile<depth, atoms>;
  const int64_t blocks = ceil_div(in.T, Tile::rows);
  launch("attention", forward_kernel<Stored, depth, atoms>,
         Grid{grid_of(blocks * in.N * in.K), dim3(Tile::threads), Tile::bytes}, in,
         static_cast<int>(blocks), y.as<Stored>(), lse.as<float>());
}

template <class Stored>
void run_fused(const Inputs<Stored>& in, View& y, View& lse) {
  // Fewer queries to a block where there would be less than two blocks for a multiprocessor.
  const bool many = int64_t{in.N} * in.K * ceil_div(in.T, 128) >= 256;
  dispatch_depth(in.D, [&]<int depth>() {
    if constexpr (depth <= 128)
      if (many) return launch_forward<Stored, depth, 2>(in, y, lse);
    launch_forward<Stored, depth, 1>(in, y, lse);
  });
}

template <class Stored>
void run_wide(const Inputs<Stored>& in, const Sizes& sizes, View& y, View& lse) {
  dispatch_engine<Stored, Pass::forward>(sizes.D, [&]<class Engine>() {
    const WideCut grid = wide_cut_of<Engine>(sizes, sizes.T, sizes.S);
    const int64_t parts = grid.cut.parts, rows = sizes.N * sizes.T * sizes.K;
    const Workspace outputs(share_bytes(y, parts)), logs(share_bytes(lse, parts));
    Shares shares{};
    if (parts > 1) shares = {outputs.as<float>(), nullptr, y.numel()};
    launch("attention", wide_kernel<Engine, Pass::forward>,
           Grid{grid_of(sizes.N * sizes.K * grid.cut.blocks * grid.slabs * parts),
                dim3(Engine::threads), Engine::bytes},
           in, grid, y.as<Stored>(), parts > 1 ? logs.as<float>() : lse.as<float>(), shares);
    if (parts > 1)
      launch("attention", merge_parts<Stored>, stream_grid(rows * 32), outputs.as<float>(),
             logs.as<float>(), y.numel(), static_cast<int>(parts), y.as<Stored>(), lse.as<float>(),
             rows, in.T, in.K, in.D);
  });
}

template <class Stored>
void run_single(const Inputs<Stored>& in, View& y, View& lse) {
  const int64_t rows = int64_t{in.N} * in.T * in.K;
  const auto run = [&](auto kernel) {
    launch("attention", kernel, stream_grid(rows * single_lanes), in, rows, y.as<Stored>(),
           lse.as<float>());
  };
  in.packs ? run(single_forward_kernel<Stored, 16 / sizeof(Stored)>)
           : run(single_forward_kernel<Stored, 1>);
}

// ---- backward

template <class Stored>
void run_single_backward(const Inputs<Stored>& in, View& dq, View& dk, View& dv) {
  if (dq) fill(0, dq);
  if (dk) fill(0, dk);
  if (!dv) return;
  constexpr int64_t least = 256, most = 64;  // queries to a part, parts
  const int64_t columns = int64_t{in.K} * in.D;
  const int64_t length = std::max<int64_t>(std::max(least, ceil_div(in.T, most)), 1);
  const int64_t parts = std::max<int64_t>(ceil_div(in.T, length), 1);
  const Workspace shares(parts * dv.numel() * int64_t{sizeof(float)});
  const auto run = [&](auto kernel, int64_t width) {
    const int64_t blocks = ceil_div(columns, 32 * width);
    launch("attention", kernel, Grid{grid_of(blocks * parts * in.N), dim3(256)}, in.dy,
           shares.as<float>(), columns, in.T, static_cast<int>(length), static_cast<int>(blocks),
           static_cast<int>(parts));
  };
  constexpr int width = 16 / sizeof(Stored);
  in.packs ? run(single_backward_kernel<Stored, width>, width)
           : run(single_backward_kernel<Stored, 1>, 1);
  add_shares<Stored>(shares.as<float>(), dv, parts);
}

// launch(cut, shares): for blocks of so many rows that take so many columns at once.
template <Side side, class Stored, class Launch>
void run_side(const Sizes& sizes, int rows, int columns, View& first, View& second,
              Launch&& launch) {
  constexpr bool over_keys = side == Side::keys;
  const Cut cut = cut_of(sizes.N * sizes.K, ceil_div(over_keys ? sizes.S : sizes.T, rows), 1,
                         over_keys ? sizes.T : sizes.S, columns, 512);
  const int64_t parts = cut.parts;
  const Workspace of_first(share_bytes(first, parts)), of_second(share_bytes(second, parts));
  Shares shares{};
  if (parts > 1)
    shares = {of_first.as<float>(), of_second.as<float>(), (first ? first : second).numel()};
  launch(cut, shares);
  if (parts > 1 && first) add_shares<Stored>(shares.first, first, parts);
  if (parts > 1 && second) add_shares<Stored>(shares.second, second, parts);
}

template <Side side, class Stored>
void launch_backward(const Inputs<Stored>& in, const Sizes& sizes, View& first, View& second,
                     const Gradients<Stored>& gradients) {
  if (gains_by_hopper(in))
    return run_side<side, Stored>(sizes, HopperBlock::rows, hopper_columns, first, second,
                                  [&](const Cut& cut, const Shares& shares) {
                                    hopper_backward<side>(in, cut, gradients, shares);
                                  });
  dispatch_depth(sizes.D, [&]<int depth>() {
    using Tile = BackwardTile<depth>;
    run_side<side, Stored>(sizes, Tile::rows, Tile::columns, first, second,
                           [&](const Cut& cut, const Shares& shares) {
                             launch("attention", backward_kernel<Stored, depth, side>,
                                    Grid{grid_of(sizes.N * sizes.K * cut.blocks * cut.parts),
                                         dim3(Tile::threads), Tile::bytes},
                                    in, cut, gradients, shares);
                           });
  });
}

template <class Stored>
void run_fused_backward(const Inputs<Stored>& in, const Sizes& sizes, View& dq, View& dk,
                        View& dv) {
  const Gradients<Stored> gradients{dq ? dq.as<Stored>() : nullptr, dk ? dk.as<Stored>() : nullptr,
                                    dv ? dv.as<Stored>() : nullptr};
  View none;
  if (dk || dv) launch_backward<Side::keys>(in, sizes, dk, dv, gradients);
  if (dq) launch_backward<Side::queries>(in, sizes, dq, none, gradients);
}

template <Pass pass, class Stored>
void launch_wide_backward(const Inputs<Stored>& in, const Sizes& sizes, View& gradient) {
  if (!gradient) return;
  constexpr bool over_keys = pass != Pass::query_grad;
  dispatch_engine<Stored, pass>(sizes.D, [&]<class Engine>() {
    const WideCut grid =
        wide_cut_of<Engine>(sizes, over_keys ? sizes.S : sizes.T, over_keys ? sizes.T : sizes.S);
    const int64_t parts = grid.cut.parts;
    const Workspace memory(share_bytes(gradient, parts));
    Shares shares{};
    if (parts > 1) shares = {memory.as<float>(), nullptr, gradient.numel()};
    launch("attention", wide_kernel<Engine, pass>,
           Grid{grid_of(sizes.N * sizes.K * grid.cut.blocks * grid.slabs * parts),
                dim3(Engine::threads), Engine::bytes},
           in, grid, gradient.as<Stored>(), static_cast<float*>(nullptr), shares);
    if (parts > 1) add_shares<Stored>(shares.first, gradient, parts);
  });
}

template <class Stored>
void run_delta(const Inputs<Stored>& in, const View& dy, const View& y, float* delta) {
  const int64_t rows = int64_t{in.N} * in.T * in.K;
  constexpr int width = 16 / sizeof(Stored);
  if (in.packs)
    launch("attention", delta_kernel<Stored, width>, stream_grid(rows * 8), dy.as<Stored>(),
           y.as<Stored>(), delta, rows, in.T, in.K, in.D);
  else
    launch("attention", delta_kernel<Stored, 1>, stream_grid(rows * 8), dy.as<Stored>(),
           y.as<Stored>(), delta, rows, in.T, in.K, in.D);
}

}  // namespace

void attention_forward(const View& q, const View& k, const View& v, const View& mask, double scale,
                       View& y, View& lse) {
  const Sizes sizes = checked_sizes(q, k, v, mask, y, lse);
  dispatch_float(q.dtype, "attention", [&]<class Stored>() {
    if (y.numel() == 0) return;
    auto in = inputs_of<Stored>(sizes, q, k, v, mask, scale);
    in.packs = in.packs && vectors(y.data);
    if (sizes.S == 1) return run_single(in, y, lse);
    if constexpr (!__is_same(Stored, float)) {
      if (gains_by_hopper(in)) return hopper_forward(in, y.as<Stored>(), lse.as<float>());
      if (sizes.D <= widest_fused) return run_fused(in, y, lse);
    }
    run_wide(in, sizes, y, lse);
  });
}

void attention_backward(const View& dy, const View& q, const View& k, const View& v,
                        const View& mask, const View& y, const View& lse, double scale, View& dq,
                        View& dk, View& dv) {
  const Sizes sizes = checked_sizes(q, k, v, mask, y, lse);
  check_attention_gradients(dy, q, k, v, dq, dk, dv);
  dispatch_float(q.dtype, "attention", [&]<class Stored>() {
    if (k.numel() == 0) return;
    auto in = inputs_of<Stored>(sizes, q, k, v, mask, scale);
    in.packs = in.packs && vectors(dy.data, y.data, dq.data, dk.data, dv.data);
    in.dy = dy.as<Stored>();
    if (sizes.S == 1) return run_single_backward(in, dq, dk, dv);
    const Workspace delta(std::max<int64_t>(lse.bytes(), 16));
    in.lse = lse.as<float>();
    in.delta = delta.as<float>();
    run_delta(in, dy, y, delta.as<float>());
    if constexpr (!__is_same(Stored, float))
      if (sizes.D <= widest_fused) return run_fused_backward(in, sizes, dq, dk, dv);
    launch_wide_backward<Pass::query_grad>(in, sizes, dq);
    launch_wide_backward<Pass::key_grad>(in, sizes, dk);
    launch_wide_backward<Pass::value_grad>(in, sizes, dv);
  });
}

}  // namespace emulsion::cuda
