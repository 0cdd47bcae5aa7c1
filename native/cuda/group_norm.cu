// Group norm over channels-last images [N, ..., C] with an optional per-sample affine map and SiLU.
//
// Bandwidth is the roof: 2 values per element forward, 3 backward. Images whose slices of whole
// groups fit the shared memory of a block are read and written once, in one launch
// (group_norm.cuh). Larger ones are walked twice by chunks of rows (norm_rows.cuh), the second time
// from the L2 cache, in one launch too (group_norm_flow.cuh). The grid depends on chunks, not on
// images and groups, so that one image fills the device.
#include "ops/group_norm.h"

#include "cuda/group_norm_flow.cuh"

namespace emulsion::cuda {
namespace {

GroupAffine affine_of(const char* op, const GroupExtents& e, const View& weight, const View& bias,
                      const View& scale, const View& shift, const View& mean, const View& rstd) {
  return {Values(op, weight),          Values(op, bias), Values(op, scale),
          Values(op, shift),           e.channels,       static_cast<int>(e.groups),
          Divisor(e.group_channels()), mean.as<float>(), rstd.as<float>()};
}

// The flow with its counters at zero, as long as the memory lives.
Flow started(const char* op, Flow flow, const Workspace& counters) {
  flow.counters = counters.as<unsigned>();
  launch(op, clear_counters, Grid{dim3(1), dim3(norm_threads)}, flow.counters,
         flow.counter_count());
  return flow;
}

template <class T, int width, bool silu>
void forward(const char* op, const GroupExtents& e, const View& x, const GroupAffine& affine,
             float eps, View& y, View& mean, View& rstd) {
  const Residence residence(e, width, sizeof(T), 1);
  if (residence.fits) {
    launch(op, group_norm_resident<T, width, silu>, residence.grid(), x.as<T>(), residence, affine,
           eps, y.as<T>(), mean.as<float>(), rstd.as<float>());
    return;
  }
  const RowTiling tiling(e.images, e.pixels, e.channels, width);
  const Flow flow(e, tiling, e.pixels * e.channels * int64_t{sizeof(T)});
  const int64_t partials = e.images * tiling.chunks * e.channels;
  const Workspace means(4 * partials), squares(4 * partials), counters(flow.counter_bytes());
  const Workspace coefficients(4 * 3 * e.images * e.channels);
  launch(op, group_norm_flow<T, width, silu>,
         flow.grid(Flow::residents, row_shared_bytes<width>(tiling, norm_threads)), x.as<T>(),
         started(op, flow, counters), affine, eps, means.as<float>(), squares.as<float>(),
         coefficients.as<float>(), y.as<T>(), mean.as<float>(), rstd.as<float>());
}

template <class T, int width, bool silu>
void backward(const char* op, const GroupExtents& e, const View& dy, const View& x,
              const GroupAffine& affine, const GroupGradients& gradients, View& dx) {
  T* result = dx ? dx.as<T>() : nullptr;
  const Residence residence(e, width, sizeof(T), 2);
  if (residence.fits) {
    launch(op, group_norm_resident_backward<T, width, silu>, residence.grid(), dy.as<T>(),
           x.as<T>(), residence, affine, gradients, result);
    return;
  }
  const RowTiling tiling(e.images, e.pixels, e.channels, width);
  const Flow flow(e, tiling, 2 * e.pixels * e.channels * int64_t{sizeof(T)});
  const Workspace sums(4 * 2 * e.images * tiling.chunks * e.channels);
  const Workspace coefficients(4 * 5 * e.images * e.channels), counters(flow.counter_bytes());
  const int columns = static_cast<int>(std::min<int64_t>(e.group_channels(), norm_threads));
  launch(op, group_norm_flow_backward<T, width, silu>,
         flow.grid(Flow::gradient_residents, row_shared_bytes<width>(tiling, norm_threads)),
         dy.as<T>(), x.as<T>(), started(op, flow, counters), affine, gradients, columns,
         sums.as<float>(), coefficients.as<float>(), result);
}

// Calls body.template operator()<T, width, silu>().
template <class Body>
void dispatch(const char* op, DType dtype, int64_t channels, bool aligned, bool silu, Body&& body) {
  dispatch_float(dtype, op, [&]<class T>() {
    constexpr int width = 16 / sizeof(T);
    if (aligned && channels % width == 0) {
      if (silu)
        body.template operator()<T, width, true>();
      else
        body.template operator()<T, width, false>();
    } else {
      if (silu)
        body.template operator()<T, 1, true>();
      else
        body.template operator()<T, 1, false>();
    }
  });
}

}  // namespace

void group_norm_forward(const View& x, const View& weight, const View& bias, const View& scale,
                        const View& shift, double eps, bool silu, View& y, View& mean, View& rstd) {
  const char* op = "group_norm_forward";
  const GroupExtents e = checked_group_norm_forward(x, weight, bias, scale, shift, y, mean, rstd);
  dispatch(op, x.dtype, e.channels, vectors(x.data, y.data), silu,
           [&]<class T, int width, bool activated>() {
             const auto affine = affine_of(op, e, weight, bias, scale, shift, mean, rstd);
             forward<T, width, activated>(op, e, x, affine, static_cast<float>(eps), y, mean, rstd);
           });
}

void group_norm_backward(const View& dy, const View& x, const View& weight, const View& bias,
                         const View& scale, const View& shift, const View& mean, const View& rstd,
                         bool silu, View& dx, View& dweight, View& dbias, View& dscale,
                         View& dshift) {
  const char* op = "group_norm_backward";
  const GroupExtents e = checked_group_norm_backward(dy, x, weight, bias, scale, shift, mean, rstd,
                                                     dx, dweight, dbias, dscale, dshift);
  const bool aligned = vectors(dy.data, x.data, dx.data);
  dispatch(op, x.dtype, e.channels, aligned, silu, [&]<class T, int width, bool activated>() {
    const auto affine = affine_of(op, e, weight, bias, scale, shift, mean, rstd);
    const Workspace parameters(4 * 2 * e.images * e.channels);
    const GroupGradients gradients{Values(op, dscale), Values(op, dshift), parameters.as<float>()};
    backward<T, width, activated>(op, e, dy, x, affine, gradients, dx);
    launch_sum_partials(op, parameters.as<float>(), e.images, e.channels, Values(op, dweight),
                        Values(op, dbias));
  });
}

}  // namespace emulsion::cuda
