// What the three passes of a convolution share: its sizes, checked once, and the walk over the
// input rows that an output pixel reads. No pass copies the input: a pixel outside of the image is
// a pointer to zeros.
#pragma once

#include "cpu/gemm.h"

namespace emulsion::cpu::EMULSION_LEVEL {

struct ConvGeometry {
  int64_t N, H, W, C, K, R, S, P, Q;
  int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
  int64_t groups, group_C, group_K;
  int64_t taps;
};

// Throws unless the three shapes and the options make one convolution.
inline ConvGeometry conv_geometry(const char* op, const View& x, const View& weight, const View& y,
                                  const Shape& stride, const Shape& padding, const Shape& dilation,
                                  int64_t groups) {
  EMULSION_CHECK(x && weight && y, op, ": images and weight must be given");
  EMULSION_CHECK(x.rank() == 4 && weight.rank() == 4 && y.rank() == 4, op,
                 ": images and weight have four axes");
  EMULSION_CHECK(x.dtype == weight.dtype && x.dtype == y.dtype, op,
                 ": all tensors must have one dtype");
  EMULSION_CHECK(stride.rank() == 2 && padding.rank() == 4 && dilation.rank() == 2, op,
                 ": stride and dilation have two entries, padding four");
  constexpr int64_t limit = int64_t{1} << 24;
  for (int i = 0; i < 2; ++i)
    EMULSION_CHECK(stride[i] >= 1 && stride[i] < limit && dilation[i] >= 1 && dilation[i] < limit,
                   op, ": stride and dilation must be positive");
  for (int64_t pad : padding)
    EMULSION_CHECK(pad >= 0 && pad < limit, op, ": padding must not be negative");
  const ConvGeometry g{x.dim(0),
                       x.dim(1),
                       x.dim(2),
                       x.dim(3),
                       weight.dim(0),
                       weight.dim(1),
                       weight.dim(2),
                       y.dim(1),
                       y.dim(2),
                       stride[0],
                       stride[1],
                       padding[0],
                       padding[2],
                       dilation[0],
                       dilation[1],
                       groups,
                       groups > 0 ? x.dim(3) / groups : 0,
                       groups > 0 ? weight.dim(0) / groups : 0,
                       weight.dim(1) * weight.dim(2)};
  EMULSION_CHECK(groups >= 1 && g.C == g.group_C * groups && g.K == g.group_K * groups, op,
                 ": groups (", groups, ") must divide the channels ", g.C, " and ", g.K);
  EMULSION_CHECK(weight.dim(3) == g.group_C && y.dim(0) == g.N && y.dim(3) == g.K && g.taps > 0, op,
                 ": images ", x.shape, " and ", y.shape, " do not fit weight ", weight.shape,
                 " in ", groups, " groups");
  const auto extent = [](int64_t size, int64_t pads, int64_t dilation, int64_t kernel,
                         int64_t stride) {
    const int64_t free = size + pads - dilation * (kernel - 1) - 1;
    return free < 0 ? 0 : free / stride + 1;
  };
  EMULSION_CHECK(g.P == extent(g.H, padding[0] + padding[1], g.dilation_h, g.R, g.stride_h) &&
                     g.Q == extent(g.W, padding[2] + padding[3], g.dilation_w, g.S, g.stride_w),
                 op, ": ", x.shape, " with weight ", weight.shape, " does not give ", y.shape);
  return g;
}

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

  // A block of the reduction is at most target · 3/2 channels of one tap.
  static constexpr int64_t most_channels = 2 * DepthPlan::target;

  EMULSION_INLINE bool in_place(int64_t panels) const {
    return read_in_place(step_w * stride * static_cast<int64_t>(sizeof(T)), panels);
  }

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
