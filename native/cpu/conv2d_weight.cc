// The weight gradient: dweight[k, (r,s,c)] = Σ_pixel dy[pixel, k] · x[pixel + tap, c], a product
// whose reduction runs over all pixels of the batch. Blocks of 128 pixels: dy is packed to slices
// of 14 channels (64 KiB for 128 channels, L2), then one panel of x at a time (16 KiB, L1) is
// gathered and multiplied with all of them. Sums stay in tiles, 1.8 KiB each, between blocks.
//
// Tasks are groups of panels; where the weights are few the pixels are split as well, into a number
// of parts that depends on the shapes alone, and the parts are added in order: the result does not
// depend on the number of threads.
//
// Share of the FMA peak, f32, one thread of a 2-core Zen 4 VM: 82-85 % for 3x3 with 128 to 256
// channels at 4x4 to 32x32, 60-73 % with 32 to 128 at 64x64, 86 % for 1x1 with 256, 23-30 % with
// 3 channels on one side.
#include "ops/conv2d.h"

#include "cpu/conv2d_geometry.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t block_pixels = 128;

// Panels of (tap, channel) columns. Wide channel counts start a new panel at each tap, so that a
// panel copies whole vectors; narrow ones run on across taps.
template <class T>
struct ColumnPanels {
  int64_t taps, channels;

  struct Range {
    int64_t begin, count;
  };
  EMULSION_INLINE bool per_tap() const { return channels >= Vec<T>::size; }
  EMULSION_INLINE int64_t line() const { return per_tap() ? channels : taps * channels; }
  EMULSION_INLINE int64_t per_line() const {
    return (line() + Tile<T>::columns - 1) / Tile<T>::columns;
  }
  EMULSION_INLINE int64_t count() const { return per_line() * (per_tap() ? taps : 1); }
  EMULSION_INLINE Range range(int64_t panel) const {
    const int64_t start = panel % per_line() * Tile<T>::columns, rest = line() - start;
    return {panel / per_line() * line() + start, rest < Tile<T>::columns ? rest : Tile<T>::columns};
  }
};

// panel[p][..] = the columns of `range` for pixels first, first + 1, ...
template <class T, class Stored>
void gather(const PixelRows<T, Stored>& x, int64_t first, int64_t pixels, int64_t begin,
            int64_t count, int width, T* panel) {
  const Stored* rows[block_pixels];
  for (int64_t done = 0; done < count;) {
    const int64_t tap = (begin + done) / x.length, channel = (begin + done) % x.length;
    const int64_t run = x.length - channel < count - done ? x.length - channel : count - done;
    x.walk(first, pixels, x.taps[tap], channel, rows);
    const bool last = done + run == count;
    for (int64_t p = 0; p < pixels; ++p) {
      const Stored* const from = rows[p];
      T* const to = panel + p * width + done;
      if (last && done == 0) {  // the panel is one run: also clears what is beyond it
        for (int64_t i = 0; i < width; i += Vec<T>::size)
          load_up_to<T>(from + i, run - i).store(to + i);
      } else {
        for (int64_t i = 0; i < run; ++i) to[i] = convert<T>(from[i]);
        if (last)
          for (int64_t i = run; i < width - done; ++i) to[i] = 0;
      }
    }
    done += run;
  }
}

template <class Stored>
void backward_weight(const ConvGeometry& g, const Stored* dy, const Stored* x, int64_t group,
                     Stored* dweight) {
  using T = Accumulator<Stored>;
  TapList taps(g.taps);
  const PixelRows<T, Stored> source = forward_rows<T>(g, x, group, taps);
  const ColumnPanels<T> columns{g.taps, g.group_C};
  const int64_t pixels = g.N * g.P * g.Q, panels = columns.count();
  const int64_t tiles = (g.group_K + Tile<T>::rows - 1) / Tile<T>::rows;
  const auto tile_row = [&](int64_t tile) { return g.group_K * tile / tiles; };

  constexpr int64_t panels_per_task = 4, tasks_wanted = 24;
  const int64_t groups = (panels + panels_per_task - 1) / panels_per_task;
  const int64_t most_splits = 1 + pixels / (4 * block_pixels),
                splits_wanted = (tasks_wanted + groups - 1) / groups;
  const int64_t splits = splits_wanted < most_splits ? splits_wanted : most_splits;
  T* const sums = scratch<T>(0, splits * panels * tiles * Tile<T>::size);

  parallel_tasks(splits * groups, [&](int64_t task) {
    const int64_t split = task / groups, part = task % groups;
    const int64_t panel_begin = panels * part / groups, panel_end = panels * (part + 1) / groups;
    const int64_t begin = pixels * split / splits, end = pixels * (split + 1) / splits;
    T* const panel = scratch<T>(1, block_pixels * Tile<T>::columns);
    T* const slices = scratch<T>(2, g.group_K * block_pixels + Tile<T>::columns);
    for (int64_t pixel = begin; pixel < end; pixel += block_pixels) {
      const int64_t depth = end - pixel < block_pixels ? end - pixel : block_pixels;
      for (int64_t t = 0; t < tiles; ++t) {
        const int height = static_cast<int>(tile_row(t + 1) - tile_row(t));
        pack_straight(dy + pixel * g.K + group * g.group_K + tile_row(t), g.K, height, depth,
                      slices + tile_row(t) * depth, height);
      }
      for (int64_t j = panel_begin; j < panel_end; ++j) {
        const auto [column, count] = columns.range(j);
        const int vectors = count > Vec<T>::size ? 2 : 1;
        gather(source, pixel, depth, column, count, vectors * Vec<T>::size, panel);
        for (int64_t t = 0; t < tiles; ++t)
          packed_kernel<T>(static_cast<int>(tile_row(t + 1) - tile_row(t)), vectors)(
              depth, slices + tile_row(t) * depth, panel,
              sums + ((split * panels + j) * tiles + t) * Tile<T>::size, pixel > begin);
      }
    }
  });

  const int64_t row_length = g.taps * g.group_C;
  parallel_for(panels, 1 + 16384 / (g.group_K * Tile<T>::columns * splits),
               [&](int64_t first, int64_t last) {
                 for (int64_t j = first; j < last; ++j) {
                   const auto [column, count] = columns.range(j);
                   for (int64_t t = 0; t < tiles; ++t)
                     for (int64_t k = tile_row(t); k < tile_row(t + 1); ++k)
                       for (int64_t i = 0; i < count; i += Vec<T>::size) {
                         const T* from = sums + (j * tiles + t) * Tile<T>::size +
                                         (k - tile_row(t)) * Tile<T>::columns + i;
                         Vec<T> total = Vec<T>::load(from);
                         for (int64_t split = 1; split < splits; ++split)
                           total += Vec<T>::load(from + split * panels * tiles * Tile<T>::size);
                         store_up_to(total,
                                     dweight + (group * g.group_K + k) * row_length + column + i,
                                     count - i);
                       }
                 }
               });
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
