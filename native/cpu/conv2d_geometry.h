// What the three passes of a convolution share: the walk over the input rows that an output pixel
// reads. No pass copies the input: a pixel outside of the image is a pointer to zeros.
#pragma once

#include "cpu/gemm.h"
#include "ops/conv2d.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Where a tap reads, relative to step · (row, column) of the pixel grid.
struct Tap {
  int64_t h, w;
};

// A source of rows, one per pixel of a grid [N, grid_h, grid_w]: of A for gemm.h, one segment per
// tap; of B for gemm_deep.h, one line per tap.
template <class T, class Stored>
struct PixelRows {
  using Element = Stored;
  const Stored* image;  // [N, H, W, stride], at the group's first channel
  int64_t H, W, stride;
  int64_t grid_h, grid_w, step_h, step_w;
  const Tap* taps;
  int64_t segments, length;

  // A block of the reduction is at most so many channels of one tap.
  static constexpr int64_t most_channels = 2 * DepthPlan::target, whole = most_channels;

  EMULSION_INLINE Reading reading(int64_t panels) const {
    const int64_t apart = step_w * stride * static_cast<int64_t>(sizeof(T));
    return better_packed(apart, panels) ? Reading::packed : Reading::rows;
  }

  EMULSION_INLINE const Stored* columns(int64_t, int64_t) const { return nullptr; }

  // Pointers to channel `offset` of what pixels row, row + 1, ... read at one tap.
  EMULSION_INLINE void walk(int64_t row, int64_t count, int64_t at, int64_t offset,
                            const Stored** to) const {
    const Tap tap = taps[at];
    alignas(64) static const Stored zeros[most_channels] = {};
    int64_t i = row / grid_w, j = row % grid_w;
    const int64_t n = i / grid_h;
    i %= grid_h;
    const Stored* base = image + n * H * W * stride + offset;
    for (int64_t k = 0; k < count;) {
      const int64_t h = i * step_h + tap.h;
      const bool inside = static_cast<uint64_t>(h) < static_cast<uint64_t>(H);
      const Stored* const line = base + (inside ? h * W * stride : 0);
      const int64_t end = k + grid_w - j < count ? k + grid_w - j : count;
      for (int64_t w = j * step_w + tap.w; k < end; ++k, w += step_w)
        to[k] = inside && static_cast<uint64_t>(w) < static_cast<uint64_t>(W) ? line + w * stride
                                                                              : zeros;
      j = 0;
      if (++i == grid_h) {
        i = 0;
        base += H * W * stride;
      }
    }
  }

  EMULSION_INLINE int64_t pitch() const { return step_w * stride; }
  // What pixels row, row + 1, ... read at one tap, as runs of neighbours `pitch` apart; returns
  // their number, at most `count`. Pixels that read outside of the image are in no run.
  EMULSION_INLINE int64_t runs(int64_t row, int64_t count, int64_t at, Run<Stored>* to) const {
    const Tap tap = taps[at];
    int64_t i = row / grid_w, j = row % grid_w, found = 0;
    const int64_t n = i / grid_h;
    i %= grid_h;
    const Stored* base = image + n * H * W * stride;
    // Columns of the grid whose tap is inside the image.
    const int64_t left = tap.w >= 0 ? 0 : (-tap.w + step_w - 1) / step_w;
    const int64_t right = W > tap.w ? (W - tap.w + step_w - 1) / step_w : 0;
    for (int64_t k = 0; k < count; j = 0) {
      const int64_t line = grid_w - j < count - k ? grid_w - j : count - k;
      const int64_t first = j > left ? j : left, last = j + line < right ? j + line : right;
      const int64_t h = i * step_h + tap.h;
      if (first < last && static_cast<uint64_t>(h) < static_cast<uint64_t>(H)) {
        const Stored* const from = base + (h * W + first * step_w + tap.w) * stride;
        const int64_t start = k + first - j;
        Run<Stored>* const before = to + found - 1;
        if (found > 0 && before->start + before->length == start &&
            before->b + before->length * pitch() == from)
          before->length += last - first;
        else
          to[found++] = {start, last - first, from};
      }
      k += line;
      if (++i == grid_h) {
        i = 0;
        base += H * W * stride;
      }
    }
    return found;
  }

  EMULSION_INLINE void pointers(int64_t row, int count, const DepthPlan::Block& block,
                                const Stored** table) const {
    for (int64_t s = 0; s < block.segments; ++s)
      walk(row, count, block.segment + s, block.offset, table + s * Tile<T>::rows);
  }

  EMULSION_INLINE void pack(int64_t row, int count, const DepthPlan::Block& block, T* panel) const {
    const Stored* rows[Tile<T>::rows];
    for (int64_t s = 0; s < block.segments; ++s, panel += block.length * count) {
      walk(row, count, block.segment + s, block.offset, rows);
      if (block.length >= Vec<T>::size) {
        pack_transposed(rows, count, block.length, panel, count);
      } else {
        for (int64_t c = 0; c < block.length; ++c)
          for (int i = 0; i < count; ++i) panel[c * count + i] = convert<T>(rows[i][c]);
      }
    }
  }

  // What pixels row to row + count read, over the whole reduction, as a panel of B `width` wide.
  EMULSION_INLINE void pack_columns(int64_t row, int count, T* panel, int width) const {
    const Stored* rows[Tile<T>::columns];
    for (int64_t s = 0; s < segments; ++s, panel += length * width)
      for (int64_t offset = 0; offset < length; offset += most_channels) {
        const int64_t rest = length - offset;
        walk(row, count, s, offset, rows);
        pack_transposed(rows, count, rest < most_channels ? rest : most_channels,
                        panel + offset * width, width);
      }
  }
};

// The taps of a list, in the order of the weights: short, on the stack up to 7 x 7.
class TapList {
 public:
  explicit TapList(int64_t capacity)
      : taps_(capacity <= inline_taps ? inline_ : new Tap[capacity]) {}
  ~TapList() {
    if (taps_ != inline_) delete[] taps_;
  }
  TapList(const TapList&) = delete;
  TapList& operator=(const TapList&) = delete;

  EMULSION_INLINE void add(Tap tap) { taps_[size_++] = tap; }
  EMULSION_INLINE const Tap* data() const { return taps_; }
  EMULSION_INLINE int64_t size() const { return size_; }

 private:
  static constexpr int64_t inline_taps = 49;
  Tap inline_[inline_taps];
  Tap* taps_;
  int64_t size_ = 0;
};

// Where output pixels read the input, from a group's first channel on: the forward pass and the
// weight gradient.
template <class T, class Stored>
PixelRows<T, Stored> forward_rows(const ConvGeometry& g, const Stored* image, TapList& taps) {
  for (int64_t r = 0; r < g.R; ++r)
    for (int64_t s = 0; s < g.S; ++s)
      taps.add({r * g.dilation_h - g.top, s * g.dilation_w - g.left});
  return {image,      g.H,        g.W,         g.C,         g.P,      g.Q,
          g.stride_h, g.stride_w, taps.data(), taps.size(), g.group_C};
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
