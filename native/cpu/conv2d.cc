// Convolution as an implicit product: rows of A are the pixels that an output pixel reads, named by
// pointers; weights are packed into panels [taps][channels][columns]. See gemm.h for the blocking.
// 3x3 filters of stride 1 over enough pixels and channels go by winograd.h instead.
//
// The gradient of the input is the same product on dy with the weights' roles exchanged. A stride
// of s leaves s·s classes of input pixels, each with its own subset of the taps; one product per
// class multiplies no zeros.
//
// Forward / input gradient, share of the FMA peak, f32, one thread of a 2-core Zen 4 VM (118
// GFLOP/s):
//   3x3, 128 to 256 channels, 4x4 to 64x64 pixels   90-95 / 88-94 %
//   3x3, 32, 64, 512 channels                       80 / 80 %, 85 / 85 %, 86 / 85 %
//   3x3 with stride 2, 64 channels                  84 / 80 %
//   1x1, 256 channels                               92 / 91 %
#include "ops/conv2d.h"

#include "cpu/activation.h"
#include "cpu/conv2d_thin.h"
#include "cpu/gemm_deep.h"
#include "cpu/winograd_convolve.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

struct Finish {
  const View &bias, &channel_add, &residual;
  bool silu;
};

template <class T, class Stored>
EMULSION_INLINE void put(Vec<T> value, Stored* to, int64_t count, bool past) {
  if constexpr (__is_same(T, Stored))
    if (past && count >= Vec<T>::size && is_aligned(to)) return value.store_past(to);
  store_up_to(value, to, count);
}

// Whether a kernel may store a tile there, past the caches if so wished. Rows of such results are
// whole lines.
template <class T>
EMULSION_INLINE bool may_go(const T* to, bool past) {
  return !past || is_aligned(to);
}

// bias, channel_add, activation and residual on a finished tile.
template <class T, class Stored>
void finish_tile(const Finish& with, const T* tile, int64_t pixel, int rows, int64_t channel,
                 int columns, int64_t pixels, int64_t K, Stored* y, Stored* preactivation,
                 bool past) {
  for (int i = 0; i < rows; ++i) {
    const int64_t at = (pixel + i) * K + channel;
    const int64_t n = with.channel_add ? (pixel + i) / pixels : 0;
    for (int j = 0; j < columns; j += Vec<T>::size) {
      const int64_t rest = columns - j;
      Vec<T> value = Vec<T>::load(tile + i * Tile<T>::columns + j);
      if (with.bias) value += load_up_to<T>(with.bias.as<Stored>() + channel + j, rest);
      if (with.channel_add)
        value += load_up_to<T>(with.channel_add.as<Stored>() + n * K + channel + j, rest);
      if (preactivation) put(value, preactivation + at + j, rest, past);
      if (with.silu) value = silu(value);
      if (with.residual) value += load_up_to<T>(with.residual.as<Stored>() + at + j, rest);
      put(value, y + at + j, rest, past);
    }
  }
}

// Asks for the lines that results go to, which mostly are not in the caches. Inlined by force, as
// all that only prefetches (winograd_convolve.h).
template <class Destination>
auto expecting(const Destination& destination, bool past) {
  return [&destination, past ](int64_t pixel, int64_t column) __attribute__((always_inline)) {
    if (!past) __builtin_prefetch(destination(pixel, column), 1, 2);
  };
}

// Few pixels would pay more for packing the weights than for multiplying. There the roles change:
// the weights are read where they lie, and what the pixels read is packed.
bool few_pixels(int64_t pixels, int64_t channels) { return pixels <= 128 && 2 * pixels < channels; }

// The gradient of a small input: weights [K · taps, C] are B as they lie, dy is gathered and
// packed.
template <class T>
void backward_few(const PixelRows<T, T>& rows, int64_t pixels, int64_t K, int64_t C,
                  const T* weight, T* dx) {
  constexpr int64_t most = PixelRows<T, T>::most_channels;
  const int64_t taps = rows.segments;
  T* const columns = scratch<T>(3, K * taps * pixels + Vec<T>::size);  // [K][taps][pixels]
  parallel_for(taps, 1, [&](int64_t begin, int64_t end) {
    const T** const from = scratch<const T*>(1, pixels);
    T* const turned = scratch<T>(2, most * pixels + Vec<T>::size);
    for (int64_t tap = begin; tap < end; ++tap)
      for (int64_t k = 0; k < K; k += most) {
        const int64_t count = K - k < most ? K - k : most;
        rows.walk(0, pixels, tap, k, from);
        pack_transposed(from, static_cast<int>(pixels), count, turned, static_cast<int>(pixels));
        for (int64_t i = 0; i < count; ++i)
          std::memcpy(columns + ((k + i) * taps + tap) * pixels, turned + i * pixels,
                      static_cast<size_t>(pixels) * sizeof(T));
      }
  });
  multiply_deep<T>(pixels, K * taps, columns, pixels, MatrixColumns<T, T>{weight, C},
                   ColumnPanels<T>{1, C}, dx);
}

template <class Stored>
void forward(const ConvGeometry& g, const View& x, const View& weight, const Finish& with, View& y,
             View& preactivation) {
  using T = Accumulator<Stored>;
  const bool past = runs_go_past(y, y.dim(3));
  for (int64_t group = 0; group < g.groups; ++group) {
    const Stored* const image = x.as<Stored>() + group * g.group_C;
    const Stored* const filters = weight.as<Stored>() + group * g.group_K * g.taps() * g.group_C;
    const auto finish = [&](const T* tile, int64_t pixel, int count, int64_t column, int columns) {
      finish_tile(with, tile, pixel, count, group * g.group_K + column, columns, g.P * g.Q, g.K,
                  y.as<Stored>(), preactivation ? preactivation.as<Stored>() : nullptr, past);
    };
    const auto destination = [&](int64_t pixel, int64_t column) {
      return y.as<Stored>() + pixel * g.K + group * g.group_K + column;
    };
    // What is added to sums needs no pass of its own.
    const auto place = [&](int64_t pixel, int64_t column) -> Place<T> {
      if constexpr (__is_same(Stored, T)) {
        const int64_t channel = group * g.group_K + column, at = pixel * g.K + channel;
        T* const to = destination(pixel, column);
        if (preactivation || with.silu || with.channel_add || !may_go(to, past)) return {};
        return {to,
                g.K,
                {with.bias ? with.bias.as<T>() + channel : nullptr, 0},
                {with.residual ? with.residual.as<T>() + at : nullptr, g.K},
                past};
      }
      return {};
    };
    if (winograd::fits<T>(g, winograd::weights_to_convolve)) {
      const PanelLayout<T> layout{g.group_C, g.group_K};
      winograd::convolve(winograd::extent_of(g), image, g.C, layout,
                         winograd::Filters<T, Stored>{filters}, finish,
                         expecting(destination, past));
    } else if (thin::to_few<T>(g.group_K, g.group_C)) {
      TapList taps(g.taps());
      const auto rows = forward_rows<T>(g, image, taps);
      const T* const weights =
          thin::pack<T>(g.group_K, g.taps(), g.group_C, [&](int64_t k, int64_t tap, int64_t c) {
            return filters[(k * g.taps() + tap) * g.group_C + c];
          });
      thin::multiply(rows, weights, g.group_K, g.N * g.P * g.Q, finish);
    } else if (few_pixels(g.N * g.P * g.Q, g.group_K)) {
      const PanelLayout<T> layout{g.taps() * g.group_C, g.N * g.P * g.Q};
      TapList taps(g.taps());
      const auto pixels = forward_rows<T>(g, image, taps);
      const auto pack = [&](int64_t panel, T* to) {
        const int width = layout.vectors(panel) * Vec<T>::size;
        pixels.pack_columns(panel * Tile<T>::columns, layout.valid(panel), to, width);
      };
      multiply_turned<T>(MatrixRows<T, Stored>(filters, layout.depth, false, layout.depth), layout,
                         pack, g.group_K, finish);
    } else {
      const PanelLayout<T> layout{g.taps() * g.group_C, g.group_K};
      TapList taps(g.taps());
      const auto rows = thin::from_few<T>(g) ? thin::padded_rows<T>(g, image, taps)
                                             : forward_rows<T>(g, image, taps);
      const auto pack = [&](int64_t panel, T* to) {
        pack_panel(filters, layout.depth, true, layout, panel, to);
      };
      multiply_parallel<T>(rows, layout, pack, g.N * g.P * g.Q, Placed{finish, place});
    }
  }
}

// Stride 1 and 3x3 weights: a convolution of dy with the weights turned around.
template <class Stored>
void backward_turned(const ConvGeometry& g, const Stored* dy, const Stored* weight, int64_t group,
                     bool past, Stored* dx) {
  using T = Accumulator<Stored>;
  const PanelLayout<T> layout{g.group_K, g.group_C};
  const winograd::TurnedFilters<T, Stored> filters{weight +
                                                   group * g.group_K * g.taps() * g.group_C};
  const auto destination = [&](int64_t pixel, int64_t column) {
    return dx + pixel * g.C + group * g.group_C + column;
  };
  const auto finish = [&](const T* tile, int64_t pixel, int count, int64_t column, int columns) {
    for (int i = 0; i < count; ++i)
      for (int j = 0; j < columns; j += Vec<T>::size)
        put(Vec<T>::load(tile + i * Tile<T>::columns + j), destination(pixel + i, column) + j,
            columns - j, past);
  };
  winograd::convolve(winograd::Extent{g.N, g.P, g.Q, g.H, g.W, 2 - g.top, 2 - g.left},
                     dy + group * g.group_K, g.K, layout, filters, finish,
                     expecting(destination, past));
}

// The convolution of dy, its filters turned around, that is the input's gradient at stride 1.
ConvGeometry turned_geometry(const ConvGeometry& g) {
  ConvGeometry turned = g;
  turned.H = g.P, turned.W = g.Q, turned.C = g.K;
  turned.P = g.H, turned.Q = g.W, turned.K = g.C;
  turned.top = (g.R - 1) * g.dilation_h - g.top;
  turned.left = (g.S - 1) * g.dilation_w - g.left;
  return turned;
}

// One class of input pixels: h = stride_h · i + phase_h, w alike.
template <class Stored>
void backward_phase(const ConvGeometry& g, const Stored* dy, const Stored* weight, int64_t group,
                    int64_t phase_h, int64_t phase_w, bool past, Stored* dx) {
  using T = Accumulator<Stored>;
  const int64_t grid_h = (g.H - phase_h + g.stride_h - 1) / g.stride_h;
  const int64_t grid_w = (g.W - phase_w + g.stride_w - 1) / g.stride_w;
  TapList taps(g.taps()), places(g.taps());  // where a tap reads dy; its place in the weights
  for (int64_t r = 0; r < g.R; ++r)
    for (int64_t s = 0; s < g.S; ++s) {
      const int64_t h = phase_h + g.top - r * g.dilation_h, w = phase_w + g.left - s * g.dilation_w;
      if (h % g.stride_h != 0 || w % g.stride_w != 0) continue;
      taps.add({h / g.stride_h, w / g.stride_w});
      places.add({r, s});
    }
  const int64_t pixels = g.N * grid_h * grid_w;
  const bool plain = g.groups == 1 && g.stride_h == 1 && g.stride_w == 1;
  const ConvGeometry turned = turned_geometry(g);
  const bool copied = plain && !few_pixels(pixels, g.C) && turned.top >= 0 && turned.left >= 0 &&
                      thin::from_few<T>(turned);
  TapList lines(g.R);
  const PixelRows<T, Stored> rows = copied ? thin::padded_rows<T>(turned, dy, lines)
                                           : PixelRows<T, Stored>{dy + group * g.group_K,
                                                                  g.P,
                                                                  g.Q,
                                                                  g.K,
                                                                  grid_h,
                                                                  grid_w,
                                                                  1,
                                                                  1,
                                                                  taps.data(),
                                                                  taps.size(),
                                                                  g.group_K};
  const auto finish = [&](const T* tile, int64_t row, int count, int64_t column, int columns) {
    for (int i = 0; i < count; ++i) {
      const int64_t n = (row + i) / (grid_h * grid_w), rest = (row + i) % (grid_h * grid_w);
      const int64_t h = rest / grid_w * g.stride_h + phase_h;
      const int64_t w = rest % grid_w * g.stride_w + phase_w;
      Stored* const to = dx + ((n * g.H + h) * g.W + w) * g.C + group * g.group_C + column;
      for (int j = 0; j < columns; j += Vec<T>::size)
        put(Vec<T>::load(tile + i * Tile<T>::columns + j), to + j, columns - j, past);
    }
  };
  const Stored* const filters = weight + group * g.group_K * g.taps() * g.group_C;
  const auto filter = [&](int64_t tap) {
    return filters + (places.data()[tap].h * g.S + places.data()[tap].w) * g.group_C;
  };
  if (taps.size() > 0 && thin::to_few<T>(g.group_C, g.group_K)) {
    const T* const weights =
        thin::pack<T>(g.group_C, taps.size(), g.group_K, [&](int64_t c, int64_t tap, int64_t k) {
          return filter(tap)[k * g.taps() * g.group_C + c];
        });
    return thin::multiply(rows, weights, g.group_C, pixels, finish);
  }
  // The filters of one tap are a matrix, which high tiles read where it lies.
  const bool packed = taps.size() > 1 || !Tile<T>::in_place;
  if constexpr (__is_same(Stored, T)) {
    if (plain && packed && few_pixels(pixels, g.C))
      return backward_few(rows, pixels, g.K, g.C, weight, dx);
  }
  const auto layout =
      panel_layout<T>(pixels, taps.size() * g.group_K, g.group_C,
                      taps.size() == 1 ? filter(0) : nullptr, g.taps() * g.group_C, false);
  const auto pack = [&](int64_t panel, T* to) {
    const int width = layout.vectors(panel) * Vec<T>::size;
    for (int64_t tap = 0; tap < taps.size(); ++tap, to += g.group_K * width) {
      // The copy is read from its first pixel on, which the last tap reads.
      const int64_t from_tap = copied ? taps.size() - 1 - tap : tap;
      const Stored* const from = filter(from_tap) + panel * Tile<T>::columns;
      pack_straight(from, g.taps() * g.group_C, layout.valid(panel), g.group_K, to, width);
    }
  };
  const auto place = [&](int64_t pixel, int64_t column) -> Place<T> {
    if constexpr (__is_same(Stored, T)) {
      const int64_t at = pixel * g.C + group * g.group_C + column;
      if (g.stride_h == 1 && g.stride_w == 1 && may_go(dx + at, past))
        return {dx + at, g.C, {}, {}, past};
    }
    return {};
  };
  multiply_parallel<T>(rows, layout, pack, pixels, Placed{finish, place});
}

}  // namespace

void conv2d_forward(const View& x, const View& weight, const View& bias, const View& channel_add,
                    const View& residual, const Shape& stride, const Shape& padding,
                    const Shape& dilation, int64_t groups, bool silu, View& y,
                    View& preactivation) {
  const ConvGeometry g =
      conv_geometry("conv2d_forward", x, weight, y, stride, padding, dilation, groups);
  check_conv_finish(g, bias, channel_add, residual, y, preactivation);
  if (y.numel() == 0) return;
  dispatch_floating(x.dtype, "conv2d_forward", [&]<class Stored>() {
    forward<Stored>(g, x, weight, Finish{bias, channel_add, residual, silu}, y, preactivation);
  });
}

void conv2d_backward_input(const View& dy, const View& weight, const Shape& stride,
                           const Shape& padding, const Shape& dilation, int64_t groups, View& dx) {
  const ConvGeometry g =
      conv_geometry("conv2d_backward_input", dx, weight, dy, stride, padding, dilation, groups);
  if (dx.numel() == 0) return;
  dispatch_floating(dx.dtype, "conv2d_backward_input", [&]<class Stored>() {
    const bool past = runs_go_past(dx, dx.dim(3));
    for (int64_t group = 0; group < g.groups; ++group) {
      if (winograd::fits<Accumulator<Stored>>(g, winograd::weights_to_convolve)) {
        backward_turned(g, dy.as<Stored>(), weight.as<Stored>(), group, past, dx.as<Stored>());
        continue;
      }
      for (int64_t h = 0; h < g.stride_h && h < g.H; ++h)
        for (int64_t w = 0; w < g.stride_w && w < g.W; ++w)
          backward_phase(g, dy.as<Stored>(), weight.as<Stored>(), group, h, w, past,
                         dx.as<Stored>());
    }
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
