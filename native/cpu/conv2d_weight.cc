// The weight gradient: dweight[k, (r,s,c)] = Σ_pixel dy[pixel, k] · x[pixel + tap, c], a product
// whose reduction runs over all pixels of the batch. See gemm_deep.h for its blocking.
#include "ops/conv2d.h"

#include "cpu/conv2d_thin.h"
#include "cpu/gemm_deep.h"
#include "cpu/winograd_weight.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// How many pixels are added one after the other. The root of their number is the most exact. Of
// many pixels PyTorch's sums are little better than whole blocks where filters have one tap, else
// worse, and those of strided filters are from few pixels on.
int64_t gradient_chain(const ConvGeometry& g) {
  const int64_t pixels = g.N * g.P * g.Q, few = g.stride_h * g.stride_w > 1 ? 256 : 4096;
  if (pixels >= few) return g.taps() == 1 ? deep_block * 3 / 4 : deep_block;
  int64_t chain = 4;
  while (4 * chain * chain <= pixels) chain *= 2;
  return chain;
}

template <class Stored>
void backward_weight(const ConvGeometry& g, const Stored* dy, const Stored* x, int64_t group,
                     Stored* dweight) {
  using T = Accumulator<Stored>;
  const Stored* const image = x + group * g.group_C;
  const Stored* const gradient = dy + group * g.group_K;
  Stored* const result = dweight + group * g.group_K * g.taps() * g.group_C;
  if (winograd::fits_gradient<T>(g))
    return winograd::weight_gradient<T>(g, gradient, image, result);
  if constexpr (__is_same(Stored, T))
    if (thin::gradient_to_few<T>(g))
      return thin::weight_gradient_to_few(g, gradient, image, result);
  TapList taps(g.taps());
  const PixelRows<T, Stored> source =
      thin::from_few<T>(g) ? thin::padded_rows<T>(g, image, taps) : forward_rows<T>(g, image, taps);
  multiply_deep<T>(g.group_K, g.N * g.P * g.Q, gradient, g.K, source,
                   ColumnPanels<T>{source.segments, source.length}, result, gradient_chain(g));
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
