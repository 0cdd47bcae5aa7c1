// Cross-entropy of class logits against class indices, log-softmax included.
//
// Bandwidth is the roof: forward reads the logits, backward reads them and writes their gradient.
// Four threads, a warp or a block take a row, by the number of classes; the forward pass walks it
// twice, once for the maximum and once for the sums, the second time from the first-level cache.
// A block takes a band of rows and leaves one partial loss, one number of rows that count and the
// first target outside; a single block adds them in order. Backward counts rows by the same bands
// first. A target outside the classes is recorded as a fault and otherwise treated as ignored.
#include "ops/cross_entropy.h"

#include <cmath>

#include "cuda/norm.cuh"

namespace emulsion::cuda {
namespace {

constexpr long long nowhere = ~(1ll << 63);
constexpr int most_bands = 1024;

struct Targets {
  const void* data;
  bool wide;  // int64, otherwise int32
  long long ignored;
  int64_t classes;

  __device__ __forceinline__ long long operator[](int64_t row) const {
    return wide ? static_cast<const int64_t*>(data)[row] : static_cast<const int32_t*>(data)[row];
  }
  __device__ __forceinline__ bool inside(long long index) const {
    return index >= 0 && index < classes;
  }
};

// What a band of rows adds up to, one array per number: [bands].
struct Bands {
  double* loss;
  long long* rows;   // that count
  long long* first;  // the first target outside, `nowhere` without one
};

struct Smallest {
  __device__ __forceinline__ long long operator()(long long a, long long b) const {
    return a < b ? a : b;
  }
};

// One thread of the launch.
__device__ __forceinline__ void record(const Targets& targets, long long position, Fault* fault,
                                       unsigned long long op) {
  if (position == nowhere || fault->op) return;
  fault->index = targets[position];
  fault->position = position;
  fault->extent = targets.classes;
  fault->op = op;
}

// The sum over the threads of a row, which are neighbours. Every thread of the block takes part.
template <int threads, class Combine>
__device__ __forceinline__ float row_reduce(float value, float identity, Combine combine) {
  if constexpr (threads > 32) {
    return block_reduce(value, identity, combine);
  } else {
#pragma unroll
    for (int offset = threads / 2; offset > 0; offset >>= 1)
      value = combine(value, __shfl_xor_sync(whole_warp, value, offset));
    return value;
  }
}

// losses: null but for reduction none.
template <class T, int width, int threads>
__global__ void __launch_bounds__(norm_threads)
    forward_kernel(const T* logits, Targets targets, int64_t rows, int64_t band, float smoothing,
                   T* losses, float* max, float* sum, Bands bands) {
  constexpr int groups = norm_threads / threads;
  const int group = static_cast<int>(threadIdx.x) / threads;
  const int place = static_cast<int>(threadIdx.x) % threads;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * band;
  const int64_t end = ::min(begin + band, rows);
  const auto classes = static_cast<float>(targets.classes);
  double loss = 0;
  long long valid = 0, first = nowhere;
  for (int64_t above = begin; above < end; above += groups) {
    const int64_t row = above + group;
    const bool present = row < end;
    const long long index = present ? targets[row] : targets.ignored;
    const bool counts = index != targets.ignored, inside = counts && targets.inside(index);
    // Threads without a row still meet the others.
    const int64_t n = inside ? targets.classes : 0;
    const T* x = logits + row * targets.classes;
    float top = -INFINITY, exponentials = 0, deviations = 0;
#pragma unroll 4
    for (int64_t c = place * width; c < n; c += threads * width) {
      const auto pack = load_pack<T, width>(x + c);
#pragma unroll
      for (const T& value : pack.values) top = Largest{}(top, widen(value));
    }
    top = row_reduce<threads>(top, -INFINITY, Largest{});
#pragma unroll 4
    for (int64_t c = place * width; c < n; c += threads * width) {
      const auto pack = load_pack<T, width>(x + c);
#pragma unroll
      for (const T& value : pack.values) {
        const float deviation = widen(value) - top;
        exponentials += exponential<T>(deviation);
        deviations += deviation;
      }
    }
    exponentials = row_reduce<threads>(exponentials, 0.0f, Sum{});
    deviations = row_reduce<threads>(deviations, 0.0f, Sum{});
    if (place != 0 || !present) continue;
    float value = 0;
    if (inside) {
      value = logf(exponentials) - (1.0f - smoothing) * (widen(x[index]) - top);
      // Without smoothing a class masked by -∞ must not meet a factor of zero.
      if (smoothing != 0) value -= smoothing / classes * deviations;
    } else if (counts && first == nowhere) {
      first = row;
    }
    valid += inside;
    loss += static_cast<double>(value);
    if (losses) losses[row] = narrow<T>(value);
    max[row] = top;
    sum[row] = exponentials;
  }
  loss = block_reduce(loss, 0.0, Sum{});
  valid = block_reduce(valid, 0ll, Sum{});
  first = block_reduce(first, nowhere, Smallest{});
  if (threadIdx.x != 0) return;
  bands.loss[blockIdx.x] = loss;
  bands.rows[blockIdx.x] = valid;
  bands.first[blockIdx.x] = first;
}

// One block. loss: null for reduction none.
template <class T>
__global__ void __launch_bounds__(norm_threads)
    finish_forward(Bands bands, int count, Targets targets, bool averages, T* loss, Fault* fault,
                   unsigned long long op) {
  double sum = 0;
  long long rows = 0, first = nowhere;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += norm_threads) {
    sum += bands.loss[i];
    rows += bands.rows[i];
    first = Smallest{}(first, bands.first[i]);
  }
  sum = block_reduce(sum, 0.0, Sum{});
  rows = block_reduce(rows, 0ll, Sum{});
  first = block_reduce(first, nowhere, Smallest{});
  if (threadIdx.x != 0) return;
  record(targets, first, fault, op);
  if (loss) *loss = narrow<T>(static_cast<float>(averages ? sum / static_cast<double>(rows) : sum));
}

__global__ void __launch_bounds__(norm_threads)
    count_rows(Targets targets, int64_t rows, int64_t band, Bands bands) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * band;
  const int64_t end = ::min(begin + band, rows);
  long long valid = 0, first = nowhere;
#pragma unroll 4
  for (int64_t row = begin + threadIdx.x; row < end; row += norm_threads) {
    const long long index = targets[row];
    if (index == targets.ignored) continue;
    if (targets.inside(index))
      ++valid;
    else
      first = Smallest{}(first, row);
  }
  valid = block_reduce(valid, 0ll, Sum{});
  first = block_reduce(first, nowhere, Smallest{});
  if (threadIdx.x != 0) return;
  bands.rows[blockIdx.x] = valid;
  bands.first[blockIdx.x] = first;
}

// dloss_step: 0 for one gradient of all rows, 1 for one per row.
template <class T, int width, int threads>
__global__ void __launch_bounds__(norm_threads)
    backward_kernel(const T* dloss, int dloss_step, const T* __restrict__ logits, Targets targets,
                    int64_t rows, const float* max, const float* sum, float smoothing, Bands bands,
                    int count, bool averages, T* __restrict__ dlogits, Fault* fault,
                    unsigned long long op) {
  constexpr int groups = norm_threads / threads;
  long long valid = 0, first = nowhere;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += norm_threads) {
    valid += bands.rows[i];
    first = Smallest{}(first, bands.first[i]);
  }
  valid = block_reduce(valid, 0ll, Sum{});
  if (blockIdx.x == 0) {
    first = block_reduce(first, nowhere, Smallest{});
    if (threadIdx.x == 0) record(targets, first, fault, op);
  }
  const float divisor = averages ? static_cast<float>(valid) : 1.0f;
  const float spread = smoothing / static_cast<float>(targets.classes);
  const int place = static_cast<int>(threadIdx.x) % threads;
  const int64_t step = static_cast<int64_t>(gridDim.x) * groups;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * groups + threadIdx.x / threads; row < rows;
       row += step) {
    const long long index = targets[row];
    const T* x = logits + row * targets.classes;
    T* dx = dlogits + row * targets.classes;
    if (index == targets.ignored || !targets.inside(index)) {
      Pack<T, width> zeros;
      for (T& value : zeros.values) value = narrow<T>(0.0f);
      for (int64_t c = place * width; c < targets.classes; c += threads * width)
        store_pack(dx + c, zeros);
      continue;
    }
    const float g = widen(dloss[row * dloss_step]) / divisor;
    const float top = max[row], inverse = 1.0f / sum[row];
#pragma unroll 2
    for (int64_t c = place * width; c < targets.classes; c += threads * width) {
      auto pack = load_pack<T, width>(x + c);
#pragma unroll
      for (int j = 0; j < width; ++j) {
        const float probability = exponential<T>(widen(pack.values[j]) - top) * inverse;
        const float hit = c + j == index ? 1.0f - smoothing : 0.0f;
        pack.values[j] = narrow<T>(g * (probability - spread - hit));
      }
      store_pack(dx + c, pack);
    }
  }
}

Targets targets_of(const View& target, const LossExtents& e, int64_t ignore_index) {
  return {target.data, target.dtype == DType::int64, ignore_index, e.classes};
}

// Rows of a band: a multiple of those that a block takes at a time.
int64_t band_rows(int64_t rows, int64_t step) {
  return ceil_div(std::max<int64_t>(1, ceil_div(rows, most_bands)), step) * step;
}

Bands bands_of(const Workspace& memory, int64_t count) {
  auto* loss = memory.as<double>();
  auto* rows = reinterpret_cast<long long*>(loss + count);
  return {loss, rows, rows + count};
}

// Calls body.template operator()<width, threads>().
template <class T, class Body>
void dispatch_rows(int64_t classes, bool aligned, Body&& body) {
  constexpr int width = 16 / sizeof(T);
  const auto with = [&]<int lanes>() {
    if (classes <= 32) return body.template operator()<lanes, 4>();
    if (classes <= 2048) return body.template operator()<lanes, 32>();
    body.template operator()<lanes, norm_threads>();
  };
  if (aligned && classes % width == 0)
    with.template operator()<width>();
  else
    with.template operator()<1>();
}

// Faults bear the name that users know.
constexpr char fault_name[] = "crossEntropy";
unsigned long long fault_address() { return reinterpret_cast<unsigned long long>(fault_name); }

}  // namespace

void cross_entropy_forward(const View& logits, const View& target, int64_t ignore_index,
                           double label_smoothing, int64_t reduction, View& loss, View& max,
                           View& sum) {
  const char* op = "cross_entropy_forward";
  const LossExtents e = checked_cross_entropy(op, logits, target, loss, max, sum, reduction);
  const Targets targets = targets_of(target, e, ignore_index);
  dispatch_float(logits.dtype, op, [&]<class T>() {
    T* losses = reduction == LossReduction::none ? loss.as<T>() : nullptr;
    dispatch_rows<T>(e.classes, vectors(logits.data), [&]<int width, int threads>() {
      const int64_t band = band_rows(e.rows, norm_threads / threads);
      const int64_t count = ceil_div(e.rows, band);
      const Workspace memory(24 * std::max<int64_t>(1, count));
      const Bands bands = bands_of(memory, count);
      launch(op, forward_kernel<T, width, threads>,
             {dim3(static_cast<unsigned>(count)), dim3(norm_threads)}, logits.as<T>(), targets,
             e.rows, band, static_cast<float>(label_smoothing), losses, max.as<float>(),
             sum.as<float>(), bands);
      launch(op, finish_forward<T>, {dim3(1), dim3(norm_threads)}, bands, static_cast<int>(count),
             targets, reduction == LossReduction::mean,
             reduction == LossReduction::none ? nullptr : loss.as<T>(), fault_slot(),
             fault_address());
    });
  });
}

void cross_entropy_backward(const View& dloss, const View& logits, const View& target,
                            const View& max, const View& sum, int64_t ignore_index,
                            double label_smoothing, int64_t reduction, View& dlogits) {
  const char* op = "cross_entropy_backward";
  const LossExtents e =
      checked_cross_entropy_backward(dloss, logits, target, max, sum, reduction, dlogits);
  if (e.rows == 0) return;
  const Targets targets = targets_of(target, e, ignore_index);
  const int64_t band = band_rows(e.rows, int64_t{4} * norm_threads);
  const int64_t count = ceil_div(e.rows, band);
  const Workspace memory(24 * count);
  const Bands bands = bands_of(memory, count);
  launch(op, count_rows, {dim3(static_cast<unsigned>(count)), dim3(norm_threads)}, targets, e.rows,
         band, bands);
  dispatch_float(logits.dtype, op, [&]<class T>() {
    const bool aligned = vectors(logits.data, dlogits.data);
    dispatch_rows<T>(e.classes, aligned, [&]<int width, int threads>() {
      launch(op, backward_kernel<T, width, threads>, stream_grid(e.rows * threads), dloss.as<T>(),
             reduction == LossReduction::none ? 1 : 0, logits.as<T>(), targets, e.rows,
             max.as<float>(), sum.as<float>(), static_cast<float>(label_smoothing), bands,
             static_cast<int>(count), reduction == LossReduction::mean, dlogits.as<T>(),
             fault_slot(), fault_address());
    });
  });
}

}  // namespace emulsion::cuda
