// The weight gradient: dweight[k, (r,s,c)] = Σ_pixel dy[pixel, k] · x[pixel + tap, c], a product
// whose reduction runs over all pixels of the batch. See gemm_deep.h for its blocking.
#include "ops/conv2d.h"

#include "cpu/conv2d_thin.h"
#include "cpu/gemm_deep.h"
#include "cpu/winograd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Of stride 1 and 3x3 weights: 16 products [K, tiles] by [tiles, C], one per point, over chunks of
// tiles that stay in the last cache. All threads transform a chunk, then each takes points (and
// parts of K) for its own, so that no two add to one sum.
template <class T, class Stored>
void winograd_weight(const ConvGeometry& g, const Stored* dy, const Stored* x, Stored* dweight) {
  using namespace winograd;
  using V = Vec<T>;
  constexpr int64_t chunk_bytes = 4 << 20;
  const int64_t K = g.group_K, C = g.group_C;
  const Tiles tiles{g.N, g.H, g.W, g.P, g.Q, g.top, g.left};
  const int64_t total = tiles.count();
  int64_t length = chunk_bytes / (points * (K + C) * static_cast<int64_t>(sizeof(T)));
  length = length < deep_block ? deep_block : length > 8 * deep_block ? 8 * deep_block : length;
  if (length > total) length = total;
  Planes<T> inputs(length, C), gradients(length, K);
  inputs.data = scratch<T>(3, inputs.size());
  gradients.data = scratch<T>(4, gradients.size());

  const PanelLayout<T> columns{0, C};
  const int64_t panels = columns.count(), heights = (K + Tile<T>::rows - 1) / Tile<T>::rows;
  const auto height_row = [&](int64_t height) { return K * height / heights; };
  // [point][height][panel] register tiles
  T* const sums = scratch<T>(5, points * heights * panels * Tile<T>::size);
  const auto sum = [&](int64_t point, int64_t height, int64_t panel) {
    return sums + ((point * heights + height) * panels + panel) * Tile<T>::size;
  };
  int64_t shares = (2 * num_threads() + points - 1) / points;
  if (shares > heights) shares = heights;

  for (int64_t first = 0; first < total; first += length) {
    const int64_t count = total - first < length ? total - first : length;
    parallel_for(count, 1 + 4096 / (K + C), [&](int64_t begin, int64_t end) {
      transform_inputs(tiles, x, g.C, C, first + begin, first + end, first, inputs);
      transform_output_gradients(tiles, dy, g.K, K, first + begin, first + end, first, gradients);
    });
    parallel_tasks(points * shares, [&](int64_t task) {
      const int point = static_cast<int>(task % points);
      const int64_t share = task / points;
      const int64_t height_begin = heights * share / shares;
      const int64_t height_end = heights * (share + 1) / shares;
      T* const slices = scratch<T>(2, K * deep_block + Tile<T>::columns);
      for (int64_t at = 0; at < count; at += deep_block) {
        const int64_t steps = count - at < deep_block ? count - at : deep_block;
        for (int64_t t = height_begin; t < height_end; ++t) {
          const int rows = static_cast<int>(height_row(t + 1) - height_row(t));
          pack_straight(gradients.at(point, at) + height_row(t), gradients.row, rows, steps,
                        slices + height_row(t) * steps, rows);
        }
        const Run<T> run{0, steps, inputs.at(point, at)};
        for (int64_t panel = 0; panel < panels; ++panel)
          for (int64_t t = height_begin; t < height_end; ++t)
            runs_kernel<T>(static_cast<int>(height_row(t + 1) - height_row(t)),
                           columns.vectors(panel))(
                &run, 1, inputs.row, panel * Tile<T>::columns, slices + height_row(t) * steps,
                height_row(t + 1) - height_row(t), sum(point, t, panel), first + at > 0);
      }
    });
  }

  parallel_for(heights, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t k = height_row(t); k < height_row(t + 1); ++k)
        for (int64_t c = 0; c < C; c += V::size) {
          const int64_t panel = c / Tile<T>::columns;
          const int64_t at = (k - height_row(t)) * Tile<T>::columns + c % Tile<T>::columns;
          V u[points];
#pragma GCC unroll 16
          for (int p = 0; p < points; ++p) u[p] = V::load(sum(p, t, panel) + at);
#pragma GCC unroll 4
          for (int s = 0; s < 4; ++s) filter_axis_transposed(u + s, 4);
#pragma GCC unroll 3
          for (int r = 0; r < 3; ++r) filter_axis_transposed(u + 4 * r, 1);
          for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s)
              store_up_to(u[4 * r + s], dweight + ((k * 3 + r) * 3 + s) * C + c, C - c);
        }
  });
}

template <class Stored>
void backward_weight(const ConvGeometry& g, const Stored* dy, const Stored* x, int64_t group,
                     Stored* dweight) {
  using T = Accumulator<Stored>;
  const Stored* const image = x + group * g.group_C;
  const Stored* const gradient = dy + group * g.group_K;
  Stored* const result = dweight + group * g.group_K * g.taps() * g.group_C;
  if (winograd::fits<T>(g)) return winograd_weight<T>(g, gradient, image, result);
  TapList taps(g.taps());
  const PixelRows<T, Stored> source =
      thin::from_few<T>(g) ? thin::padded_rows<T>(g, image, taps) : forward_rows<T>(g, image, taps);
  multiply_deep<T>(g.group_K, g.N * g.P * g.Q, gradient, g.K, source,
                   ColumnPanels<T>{source.segments, source.length}, result);
}

}  // namespace

void conv2d_backward_weight(const View& dy, const View& x, const Shape& stride,
                            const Shape& padding, const Shape& dilation, int64_t groups,
                            View& dweight) {
  const ConvGeometry g =
      conv_geometry("conv2d_backward_weight", x, dweight, dy, stride, padding, dilation, groups);
  if (dweight.numel() == 0) return;
  if (dy.numel() == 0) {
    std::memset(dweight.data, 0, static_cast<size_t>(dweight.bytes()));
    return;
  }
  dispatch_floating(dweight.dtype, "conv2d_backward_weight", [&]<class Stored>() {
    for (int64_t group = 0; group < g.groups; ++group)
      backward_weight(g, dy.as<Stored>(), x.as<Stored>(), group, dweight.as<Stored>());
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
