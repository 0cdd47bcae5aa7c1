// Group norm of images that no block holds: one launch that reads memory once.
//
// The work is a list of items which blocks take in turn from a counter: parts of rows to measure,
// groups to fold, parts of rows to write. Images go in batches of some megabytes, and the next
// batch is measured before this one is written: what the second walk reads is still in the L2
// cache, and by the time it is wanted it has been folded. An item waits for earlier ones only, and
// the earliest that is not done always runs, so that the launch ends on any number of
// multiprocessors.
//
// What an item computes does not depend on the block that takes it. The fold weighs partial means
// in double: their average keeps more digits than each of them, and what rounding takes from the
// centre goes into the offset.
#pragma once

#include "cuda/group_norm.cuh"

namespace emulsion::cuda {

// The list: the first batch to measure; then for each batch the next one to measure, this one to
// fold and to write, from its end.
struct Flow {
  // Of a batch, per multiprocessor: two of them, and what is written, fit the L2 cache of large
  // GPUs.
  static constexpr int64_t batch_bytes = 128 << 10;
  // Blocks of a multiprocessor, as far as registers reach.
  static constexpr int residents = 3, gradient_residents = 2;

  RowTiling tiling;
  int groups, batch;        // of an image; images of a batch
  uint32_t parts, measure;  // of an image; of a batch
  uint32_t fold, items;     // of a batch; in all
  unsigned* counters;       // the next item; then per image: parts measured, groups folded

  // bytes: that are read again, of an image.
  Flow(const GroupExtents& e, const RowTiling& tiling, int64_t bytes)
      : tiling(tiling),
        groups(static_cast<int>(e.groups)),
        batch(static_cast<int>(std::clamp<int64_t>(
            batch_bytes * limits().multiprocessors / std::max<int64_t>(bytes, 1), 1,
            std::max<int64_t>(e.images, 1)))),
        counters(nullptr) {
    const int64_t each = tiling.chunks * tiling.slices, batches = ceil_div(e.images, batch);
    const int64_t all = batch * each + batches * batch * (2 * each + groups);
    EMULSION_CHECK(all < INT32_MAX, "group_norm: ", e.images, " images of ", e.pixels,
                   " pixels and ", e.channels, " channels are not supported");
    parts = static_cast<uint32_t>(each);
    measure = static_cast<uint32_t>(batch * each);
    fold = static_cast<uint32_t>(batch * groups);
    items = static_cast<uint32_t>(all);
  }

  int64_t counter_bytes() const { return int64_t{sizeof(unsigned)} * counter_count(); }
  int counter_count() const { return 1 + 2 * static_cast<int>(tiling.images); }

  Grid grid(int residents, size_t shared) const {
    const int64_t blocks = std::min<int64_t>(items, int64_t{residents} * limits().multiprocessors);
    return {dim3(static_cast<unsigned>(blocks)), dim3(norm_threads), shared};
  }

  __device__ __forceinline__ unsigned* measured(int image) const {
    return counters + 1 + 2 * image;
  }
  __device__ __forceinline__ unsigned* folded(int image) const { return counters + 2 + 2 * image; }
};

__global__ void clear_counters(unsigned* counters, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    counters[i] = 0;
}

// What this block wrote may be read by those that see the count. Between barriers of the block.
__device__ __forceinline__ void announce(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  atomicAdd(counter, 1u);
}
__device__ __forceinline__ void await(unsigned* counter, unsigned count) {
  if (threadIdx.x == 0) {
    while (atomicAdd(counter, 0u) < count) __nanosleep(64);
    __threadfence();
  }
  __syncthreads();
}

// measure(part), fold(image, group) and write(part), by all threads of the block.
template <class Measure, class Fold, class Write>
__device__ __forceinline__ void follow(const Flow& flow, Measure&& measure, Fold&& fold,
                                       Write&& write) {
  EMULSION_SHARED(uint32_t, taken, [1]);
  const auto images = static_cast<uint32_t>(flow.tiling.images);
  const auto part_of = [&](uint32_t image, uint32_t part) {
    const auto slices = static_cast<uint32_t>(flow.tiling.slices);
    const int64_t chunk = part / slices;
    return RowPart{image * flow.tiling.chunks + chunk, static_cast<int>(part % slices)};
  };
  while (true) {
    if (threadIdx.x == 0) taken[0] = atomicAdd(flow.counters, 1u);
    __syncthreads();
    const uint32_t item = taken[0];
    if (item >= flow.items) return;
    // The measuring of a batch stands where its predecessor's items begin.
    const uint32_t per_batch = 2 * flow.measure + flow.fold;
    const bool first = item < flow.measure;
    const uint32_t at = first ? item : (item - flow.measure) % per_batch;
    const uint32_t batch = first ? 0 : (item - flow.measure) / per_batch;
    if (at < flow.measure) {
      const uint32_t image = (first ? 0 : batch + 1) * flow.batch + at / flow.parts;
      if (image < images) {
        measure(part_of(image, at % flow.parts));
        announce(flow.measured(image));
      }
    } else if (at < flow.measure + flow.fold) {
      const uint32_t i = at - flow.measure, image = batch * flow.batch + i / flow.groups;
      if (image < images) {
        await(flow.measured(image), flow.parts);
        fold(image, i % flow.groups);
        announce(flow.folded(image));
      }
    } else {
      const uint32_t i = per_batch - 1 - at, image = batch * flow.batch + i / flow.parts;
      if (image < images) {
        await(flow.folded(image), flow.groups);
        write(part_of(image, i % flow.parts));
      }
    }
    __syncthreads();  // shared memory is free for the next item
  }
}

// means, squares: [N · chunks][C] to mean, rstd [N, G] and coefficients [N][3][C], for one group.
__device__ __forceinline__ void fold_group_moments(int64_t n, int64_t g, const float* means,
                                                   const float* squares, const RowTiling& tiling,
                                                   const GroupAffine& affine, float eps,
                                                   float* coefficients, float* mean, float* rstd) {
  const int per_group = static_cast<int>(affine.group_channels.divisor);
  const int64_t first = g * per_group;
  const auto each = [&](auto&& body) {
    // Neighbouring threads read neighbouring channels of a chunk.
    const int64_t count = tiling.chunks * per_group;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      const int64_t chunk = i / per_group;
      body((n * tiling.chunks + chunk) * tiling.channels + first + (i - chunk * per_group),
           tiling.rows_of(chunk));
    }
  };
  const double count = static_cast<double>(tiling.rows) * per_group;
  double sum = 0;
  each([&](int64_t at, int64_t rows) {
    sum += static_cast<double>(rows) * static_cast<double>(means[at]);
  });
  sum = block_reduce(sum, 0.0, Sum{});
  const double center = count > 0 ? sum / count : 0.0;
  float spread = 0;
  each([&](int64_t at, int64_t rows) {
    const auto delta = static_cast<float>(static_cast<double>(means[at]) - center);
    spread += fmaf(static_cast<float>(rows) * delta, delta, squares[at]);
  });
  spread = block_reduce(spread, 0.0f, Sum{});
  const auto rounded = static_cast<float>(center);
  const auto rest = static_cast<float>(center - static_cast<double>(rounded));
  const float variance = count > 0 ? spread / static_cast<float>(count) : 0.0f;
  const float scaling = 1.0f / sqrtf(variance + eps);
  if (threadIdx.x == 0) {
    mean[n * affine.groups + g] = rounded;
    rstd[n * affine.groups + g] = scaling;
  }
  float* k = coefficients + n * 3 * tiling.channels;
  for (int64_t c = first + threadIdx.x; c < first + per_group; c += blockDim.x) {
    k[center_field * tiling.channels + c] = rounded;
    affine.maps(n, c, rest, scaling, k[scale_field * tiling.channels + c],
                k[offset_field * tiling.channels + c]);
  }
}

// sums [N · chunks][2][C] to the gradients of parameters and coefficients [N][5][C], for one group:
// `columns` channels at a time, the chunks spread over the lanes.
__device__ __forceinline__ void fold_group_gradients(int64_t n, int64_t g, const float* sums,
                                                     const RowTiling& tiling,
                                                     const GroupAffine& affine,
                                                     const GroupGradients& gradients, int columns,
                                                     float* coefficients) {
  EMULSION_SHARED(float, partial, [2][norm_threads]);
  const int64_t per_group = affine.group_channels.divisor;
  const float rstd = affine.rstd[n * affine.groups + g];
  const int thread = static_cast<int>(threadIdx.x), lanes = norm_threads / columns;
  const int lane = thread / columns, column = thread - lane * columns;
  float s1 = 0, s2 = 0;
  for (int64_t begin = 0; begin < per_group; begin += columns) {
    const int64_t c = g * per_group + begin + column;
    const bool inside = lane < lanes && begin + column < per_group;
    float a = 0, b = 0;
    if (inside) {
#pragma unroll 2
      for (int64_t chunk = lane; chunk < tiling.chunks; chunk += lanes) {
        const float* from = sums + 2 * (n * tiling.chunks + chunk) * tiling.channels + c;
        a += from[0];
        b += from[tiling.channels];
      }
    }
    partial[0][thread] = a;
    partial[1][thread] = b;
    __syncthreads();
    if (inside && lane == 0) {
      for (int other = 1; other < lanes; ++other) {
        a += partial[0][other * columns + column];
        b += partial[1][other * columns + column];
      }
      b *= rstd;
      gradients.store(affine, n, c, a, b);
      const float gamma = affine.weight.load(c, 1.0f) * affine.factor(n, c);
      s1 = fmaf(gamma, a, s1);
      s2 = fmaf(gamma, b, s2);
    }
    __syncthreads();
  }
  s1 = block_reduce(s1, 0.0f, Sum{});
  s2 = block_reduce(s2, 0.0f, Sum{});
  const float count = static_cast<float>(tiling.rows) * static_cast<float>(per_group);
  float* k = coefficients + n * 5 * tiling.channels;
  for (int64_t c = g * per_group + thread; c < (g + 1) * per_group; c += blockDim.x) {
    affine.channel(n, c, k[center_field * tiling.channels + c],
                   k[scale_field * tiling.channels + c], k[offset_field * tiling.channels + c]);
    k[q_field * tiling.channels + c] = -rstd * rstd * s2 / count;
    k[r_field * tiling.channels + c] = -rstd * s1 / count;
  }
}

template <class T, int width, bool silu>
__global__ void __launch_bounds__(norm_threads, Flow::residents)
    group_norm_flow(const T* x, Flow flow, GroupAffine affine, float eps, float* means,
                    float* squares, float* coefficients, T* y, float* mean, float* rstd) {
  follow(
      flow,
      [&](const RowPart& part) { measure_part<T, width>(part, x, flow.tiling, means, squares); },
      [&](int64_t n, int64_t g) {
        fold_group_moments(n, g, means, squares, flow.tiling, affine, eps, coefficients, mean,
                           rstd);
      },
      [&](const RowPart& part) {
        normalize_part<T, width, silu>(part, x, flow.tiling, coefficients, 3, y);
      });
}

template <class T, int width, bool silu>
__global__ void __launch_bounds__(norm_threads, Flow::gradient_residents)
    group_norm_flow_backward(const T* dy, const T* x, Flow flow, GroupAffine affine,
                             GroupGradients gradients, int columns, float* sums,
                             float* coefficients, T* dx) {
  follow(
      flow,
      [&](const RowPart& part) {
        sum_part<T, width, silu>(part, dy, x, flow.tiling, affine, sums);
      },
      [&](int64_t n, int64_t g) {
        fold_group_gradients(n, g, sums, flow.tiling, affine, gradients, columns, coefficients);
      },
      [&](const RowPart& part) {
        if (dx) gradient_part<T, width, silu>(part, dy, x, flow.tiling, coefficients, dx);
      });
}

}  // namespace emulsion::cuda
