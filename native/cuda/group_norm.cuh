// Group norm of small images: one block holds a slice of whole groups of one image in shared
// memory, so that every value is read once and written once, in one launch.
//
// The copy into shared memory is asynchronous and complete before anything is computed: its bytes
// under way keep the memory busy with few threads. A thread reads back only what it copied. Threads
// own vectors of channels and walk rows as in norm_rows.cuh; a warp folds the partial results of a
// group.
#pragma once

#include "cuda/norm_rows.cuh"
#include "ops/group_norm.h"

namespace emulsion::cuda {

// The maps of group norm as kernels see them: v = x̂·weight·factor + bias·factor + shift.
struct GroupAffine {
  Values weight, bias, scale, shift;
  int64_t channels;
  int groups;
  Divisor group_channels;
  const float *mean, *rstd;  // [N, G], of the backward pass

  __device__ __forceinline__ float factor(int64_t n, int64_t c) const {
    return 1.0f + scale.load(n * channels + c, 0.0f);
  }
  // Of normalised values with this mean, where `rest` is what rounding took from it.
  __device__ __forceinline__ void maps(int64_t n, int64_t c, float rest, float rstd, float& scale,
                                       float& offset) const {
    const float f = factor(n, c);
    scale = rstd * weight.load(c, 1.0f) * f;
    offset = fmaf(bias.load(c, 0.0f), f, shift.load(n * channels + c, 0.0f)) - rest * scale;
  }
  __device__ __forceinline__ void channel(int64_t n, int64_t c, float& center, float& scale,
                                          float& offset) const {
    uint32_t rest;
    const int64_t group = n * groups + group_channels(static_cast<uint32_t>(c), rest);
    center = mean[group];
    maps(n, c, 0.0f, rstd[group], scale, offset);
  }
};

// Where gradients of parameters go. parameters: [N][2][C], per image those of weight and bias.
struct GroupGradients {
  Values dscale, dshift;
  float* parameters;

  // From Σ dv and Σ dv·x̂ of a channel.
  __device__ __forceinline__ void store(const GroupAffine& affine, int64_t n, int64_t c, float sum,
                                        float product) const {
    const int64_t at = n * affine.channels + c;
    if (dscale.data)
      dscale.store(at, fmaf(affine.weight.load(c, 1.0f), product, affine.bias.load(c, 0.0f) * sum));
    dshift.store(at, sum);
    const float f = affine.factor(n, c);
    parameters[2 * n * affine.channels + c] = product * f;
    parameters[(2 * n + 1) * affine.channels + c] = sum * f;
  }
};

// Slices of whole groups and whole vectors. Blocks: images · slices.
struct Residence {
  int64_t images, rows, channels;
  int width, group_channels, columns, lanes = 1, slices;
  size_t shared = 0;
  bool fits = false;

  // operands: tensors of `size`-byte elements that are held.
  Residence(const GroupExtents& e, int width, int64_t size, int operands)
      : images(e.images),
        rows(e.pixels),
        channels(e.channels),
        width(width),
        group_channels(static_cast<int>(e.group_channels())) {
    constexpr int64_t segment = 64;            // bytes of a row that are worth an access
    constexpr int64_t most_shared = 99 << 10;  // of any device; two blocks on the larger ones
    int64_t unit = group_channels;
    while (unit % width) unit += group_channels;
    const int64_t slice = std::min(channels, unit * ceil_div(segment, unit * size));
    columns = static_cast<int>(slice / width);
    slices = static_cast<int>(ceil_div(channels, slice));
    if (rows == 0 || columns > norm_threads || rows * slice * size * operands > most_shared) return;
    lanes = static_cast<int>(std::min<int64_t>(rows, norm_threads / columns));
    const int64_t threads = grid().threads.x;
    const int64_t exchange = 2 * width * (threads + 32 / width);
    shared = static_cast<size_t>(operands * held_bytes(size) + 4 * (exchange + 7 * slice));
    fits = shared <= most_shared;
  }

  Grid grid() const {
    const int64_t threads = ceil_div(columns * lanes, 32) * 32;
    return {dim3(static_cast<unsigned>(images * slices)), dim3(static_cast<unsigned>(threads)),
            shared};
  }
  // Of one tensor, to a border of 16.
  EMULSION_INLINE int64_t held_bytes(int64_t size) const {
    return (rows * columns * width * size + 15) / 16 * 16;
  }
};

// A block's slice, and what a thread holds of it.
template <class T, int width>
struct ResidentPlace {
  int64_t image, first;                    // channel of the slice
  int lane, column, slice_channels, here;  // here: channels, fewer than slice_channels in the last
  bool active;
  int64_t start, held;  // offsets of the thread's first row, in its tensor and in shared memory

  __device__ __forceinline__ explicit ResidentPlace(const Residence& r) {
    image = static_cast<int64_t>(blockIdx.x) / r.slices;
    slice_channels = r.columns * width;
    first = (static_cast<int64_t>(blockIdx.x) - image * r.slices) * slice_channels;
    here = static_cast<int>(::min(r.channels - first, static_cast<int64_t>(slice_channels)));
    lane = static_cast<int>(threadIdx.x) / r.columns;
    column = static_cast<int>(threadIdx.x) - lane * r.columns;
    active = lane < r.lanes && column * width < here;
    start = (image * r.rows + lane) * r.channels + first + column * width;
    held = static_cast<int64_t>(lane) * slice_channels + column * width;
  }

  // Starts to copy the thread's vectors of x.
  __device__ __forceinline__ void hold(const Residence& r, const T* x, T* shared) const {
    if (!active) return;
    const T* from = x + start;
    T* to = shared + held;
#pragma unroll 4
    for (int64_t row = lane; row < r.rows; row += r.lanes) {
      if constexpr (sizeof(T) * width >= 4)
        cp_async<sizeof(T) * width>(to, from);
      else
        *to = *from;
      from += r.lanes * r.channels;
      to += r.lanes * slice_channels;
    }
  }

  // Calls body(offset in the tensor, offset in shared memory) for the thread's rows.
  template <class Body>
  __device__ __forceinline__ void each(const Residence& r, Body&& body) const {
    if (!active) return;
    int64_t from = start;
    int at = static_cast<int>(held);
#pragma unroll 2
    for (int64_t row = lane; row < r.rows; row += r.lanes) {
      body(from, at);
      from += r.lanes * r.channels;
      at += r.lanes * slice_channels;
    }
  }
};

template <class T, int width, bool silu>
__global__ void __launch_bounds__(norm_threads, 2)
    group_norm_resident(const T* x, Residence residence, GroupAffine affine, float eps, T* y,
                        float* means, float* rstds) {
  const ResidentPlace<T, width> place(residence);
  T* values = reinterpret_cast<T*>(dynamic_shared());
  const Exchange<width> mean(
      reinterpret_cast<float*>(dynamic_shared() + residence.held_bytes(sizeof(T))),
      residence.columns);
  const Exchange<width> square = mean.next();
  float* fields = square.next().at;  // [center, scale, offset][slice_channels]

  place.hold(residence, x, values);
  cp_async_commit();
  cp_async_wait<0>();
  Welford<width> moments;
  place.each(residence, [&](int64_t, int at) { moments.add(load_pack<T, width>(values + at)); });
  mean.put(moments.mean);
  square.put(moments.square);
  const Lanes lanes(residence.rows, residence.lanes, place.here);
  fold_moments(mean, square, place.here, lanes);

  const int per_group = residence.group_channels, warps = static_cast<int>(blockDim.x >> 5);
  const auto total = static_cast<float>(residence.rows * per_group);
  for (int channel = warp_index() * per_group; channel < place.here; channel += warps * per_group) {
    const float some = mean.get(channel, 0);  // differences from it keep their digits
    const auto each = [&](auto&& body) {
      for (int i = lane_index(); i < lanes.parts * per_group; i += 32) {
        uint32_t c;
        const auto part = static_cast<int>(affine.group_channels(static_cast<uint32_t>(i), c));
        body(part, channel + static_cast<int>(c), lanes.rows_of_part(part));
      }
    };
    float offset = 0, spread = 0;
    each([&](int part, int c, float rows) { offset += rows * (mean.get(c, part) - some); });
    offset = warp_reduce(offset, Sum{}) / total;
    each([&](int part, int c, float rows) {
      const float delta = mean.get(c, part) - some - offset;
      spread += fmaf(rows * delta, delta, square.get(c, part));
    });
    spread = warp_reduce(spread, Sum{});
    const float center = some + offset, rest = some - center + offset;
    const float rstd = 1.0f / sqrtf(spread / total + eps);
    for (int c = channel + lane_index(); c < channel + per_group; c += 32) {
      fields[c] = center;
      affine.maps(place.image, place.first + c, rest, rstd, fields[place.slice_channels + c],
                  fields[2 * place.slice_channels + c]);
    }
    if (lane_index() == 0) {
      const int64_t group = place.image * affine.groups + (place.first + channel) / per_group;
      means[group] = center;
      rstds[group] = rstd;
    }
  }
  __syncthreads();

  float center[width], scale[width], offset[width];
  if (!place.active) return;
  load_floats(fields + place.column * width, center);
  load_floats(fields + place.slice_channels + place.column * width, scale);
  load_floats(fields + 2 * place.slice_channels + place.column * width, offset);
  place.each(residence, [&](int64_t to, int at) {
    Pack<T, width> pack = load_pack<T, width>(values + at);
#pragma unroll
    for (int j = 0; j < width; ++j)
      pack.values[j] = narrow<T>(
          activate<T, silu>(fmaf(widen(pack.values[j]) - center[j], scale[j], offset[j])));
    store_pack(y + to, pack);
  });
}

template <class T, int width, bool silu>
__global__ void __launch_bounds__(norm_threads, 2)
    group_norm_resident_backward(const T* dy, const T* x, Residence residence, GroupAffine affine,
                                 GroupGradients gradients, T* dx) {
  const ResidentPlace<T, width> place(residence);
  const int64_t held = residence.held_bytes(sizeof(T));
  T* values = reinterpret_cast<T*>(dynamic_shared());
  T* upstream = reinterpret_cast<T*>(dynamic_shared() + held);
  const Exchange<width> first(reinterpret_cast<float*>(dynamic_shared() + 2 * held),
                              residence.columns);
  const Exchange<width> second = first.next();
  const int pitch = place.slice_channels;
  float* fields = second.next().at;      // [center, scale, offset, q, r][pitch]
  float* weighted = fields + 5 * pitch;  // [2][pitch]

  place.hold(residence, x, values);
  place.hold(residence, dy, upstream);
  cp_async_commit();
  for (int c = static_cast<int>(threadIdx.x); c < place.here; c += blockDim.x)
    affine.channel(place.image, place.first + c, fields[c], fields[pitch + c],
                   fields[2 * pitch + c]);
  cp_async_wait<0>();
  __syncthreads();

  float center[width], scale[width], offset[width];
  if (place.active) {
    load_floats(fields + place.column * width, center);
    load_floats(fields + pitch + place.column * width, scale);
    load_floats(fields + 2 * pitch + place.column * width, offset);
  }
  const auto gradient = [&](int j, T at, T dy, float& deviation) {
    deviation = widen(at) - center[j];
    return activation_gradient<T, silu>(widen(dy), fmaf(deviation, scale[j], offset[j]));
  };
  float sum[width] = {}, product[width] = {};
  place.each(residence, [&](int64_t, int at) {
    const auto pack = load_pack<T, width>(values + at), above = load_pack<T, width>(upstream + at);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      float deviation;
      const float dv = gradient(j, pack.values[j], above.values[j], deviation);
      sum[j] += dv;
      product[j] = fmaf(dv, deviation, product[j]);
    }
  });
  first.put(sum);
  second.put(product);
  const Lanes lanes(residence.rows, residence.lanes, place.here);
  fold_sums(first, second, place.here, lanes);

  const int per_group = residence.group_channels, warps = static_cast<int>(blockDim.x >> 5);
  for (int c = static_cast<int>(threadIdx.x); c < place.here; c += blockDim.x) {
    float a = 0, b = 0;
    for (int part = 0; part < lanes.parts; ++part) {
      a += first.get(c, part);
      b += second.get(c, part);
    }
    const int64_t channel = place.first + c;
    b *= affine.rstd[place.image * affine.groups + channel / per_group];
    gradients.store(affine, place.image, channel, a, b);
    const float gamma = affine.weight.load(channel, 1.0f) * affine.factor(place.image, channel);
    weighted[c] = gamma * a;
    weighted[pitch + c] = gamma * b;
  }
  if (!dx) return;
  __syncthreads();
  const auto total = static_cast<float>(residence.rows * per_group);
  for (int channel = warp_index() * per_group; channel < place.here; channel += warps * per_group) {
    float a = 0, b = 0;
    for (int c = channel + lane_index(); c < channel + per_group; c += 32) {
      a += weighted[c];
      b += weighted[pitch + c];
    }
    const float rstd =
        affine.rstd[place.image * affine.groups + (place.first + channel) / per_group];
    const float r = -rstd * warp_reduce(a, Sum{}) / total;
    const float q = -rstd * rstd * warp_reduce(b, Sum{}) / total;
    for (int c = channel + lane_index(); c < channel + per_group; c += 32) {
      fields[q_field * pitch + c] = q;
      fields[r_field * pitch + c] = r;
    }
  }
  __syncthreads();
  if (!place.active) return;
  float q[width], r[width];
  load_floats(fields + q_field * pitch + place.column * width, q);
  load_floats(fields + r_field * pitch + place.column * width, r);
  place.each(residence, [&](int64_t to, int at) {
    auto pack = load_pack<T, width>(values + at);
    const auto above = load_pack<T, width>(upstream + at);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      float deviation;
      const float dv = gradient(j, pack.values[j], above.values[j], deviation);
      pack.values[j] = narrow<T>(fmaf(dv, scale[j], fmaf(deviation, q[j], r[j])));
    }
    store_pack(dx + to, pack);
  });
}

}  // namespace emulsion::cuda
