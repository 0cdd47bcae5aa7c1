// Cumulative sums, and the index of the largest or smallest value, along one axis. topk.cu has the
// k largest.
//
// Lines that lie in one piece are walked by a block, four neighbours to a thread; all others,
// and short ones, by a thread each, neighbours side by side. Where lines are few and long they are
// cut into chunks by shape alone: sums take a pass for the chunks' totals, one over those (a warp
// per line) and one that writes; extremes fold the chunks' candidates. Sums run in float64 or
// 64-bit integers, in one fixed order. x is read once, twice where chunks need totals: bandwidth on
// large shapes, latency along the axis on small ones.
#include "ops/scan.h"

#include <climits>

#include "cuda/scan_lines.cuh"

namespace emulsion::cuda {
namespace {

constexpr int threads = 256;
constexpr int items = 4;
constexpr int tile = threads * items;
constexpr int64_t shortest_row = 64;  // for a block

template <class A>
struct SumType {
  using type = unsigned long long;
};
template <>
struct SumType<float> {
  using type = double;
};
template <class T>
using SumOf = typename SumType<Accumulator<T>>::type;

template <class T>
__device__ __forceinline__ SumOf<T> to_sum(T value) {
  if constexpr (__is_same(SumOf<T>, double))
    return static_cast<double>(widen(value));
  else
    return static_cast<unsigned long long>(static_cast<long long>(value));
}

template <class T>
__device__ __forceinline__ T from_sum(SumOf<T> sum) {
  if constexpr (__is_same(SumOf<T>, double))
    return narrow<T>(static_cast<float>(sum));
  else
    return static_cast<T>(sum);
}

template <class Value>
__device__ __forceinline__ Value warp_inclusive(Value value) {
  for (int offset = 1; offset < 32; offset *= 2) {
    const Value before = __shfl_up_sync(whole_warp, value, offset);
    if (lane_index() >= offset) value += before;
  }
  return value;
}

// Where position i of a line, in the direction of the sum, lies.
struct Walk {
  int64_t n, step;
  bool reverse;
  __device__ __forceinline__ int64_t at(int64_t i) const {
    return (reverse ? n - 1 - i : i) * step;
  }
};

// ---- sums of rows: a block per chunk of a line

template <class T>
__global__ void __launch_bounds__(threads)
    total_rows(const T* x, Walk walk, LineCut cut, SumOf<T>* totals) {
  using Value = SumOf<T>;
  const int64_t line = blockIdx.x / cut.chunks, part = blockIdx.x - line * cut.chunks;
  const int64_t end = ::min(walk.n, (part + 1) * cut.chunk);
  const T* from = x + line * walk.n;
  Value sum = 0;
#pragma unroll 4
  for (int64_t i = part * cut.chunk + threadIdx.x; i < end; i += threads)
    sum += to_sum(from[walk.at(i)]);
  sum = block_reduce(sum, Value(0), Sum());
  if (threadIdx.x == 0) totals[blockIdx.x] = sum;
}

template <class T>
__global__ void __launch_bounds__(threads)
    scan_rows(const T* x, T* y, Walk walk, LineCut cut, const SumOf<T>* carries) {
  using Value = SumOf<T>;
  EMULSION_SHARED(Value, warp_totals, [threads / 32]);
  const int64_t line = blockIdx.x / cut.chunks, part = blockIdx.x - line * cut.chunks;
  const int64_t end = ::min(walk.n, (part + 1) * cut.chunk);
  const T* from = x + line * walk.n;
  T* to = y + line * walk.n;
  Value carry = carries ? carries[blockIdx.x] : Value(0);
  for (int64_t first = part * cut.chunk; first < end; first += tile) {
    const int64_t own = first + static_cast<int>(threadIdx.x) * items;
    Value sums[items];
#pragma unroll
    for (int k = 0; k < items; ++k) {
      sums[k] = own + k < end ? to_sum(from[walk.at(own + k)]) : Value(0);
      if (k > 0) sums[k] += sums[k - 1];
    }
    const Value inclusive = warp_inclusive(sums[items - 1]);
    const Value shifted = __shfl_up_sync(whole_warp, inclusive, 1);
    if (lane_index() == 31) warp_totals[warp_index()] = inclusive;
    __syncthreads();
    Value before = carry;
    for (int w = 0; w < threads / 32; ++w) {
      if (w < warp_index()) before += warp_totals[w];
      carry += warp_totals[w];
    }
    if (lane_index() > 0) before += shifted;
#pragma unroll
    for (int k = 0; k < items; ++k)
      if (own + k < end) to[walk.at(own + k)] = from_sum<T>(before + sums[k]);
    __syncthreads();
  }
}

// ---- sums of strided lines: a thread per chunk of a line

template <class T>
__global__ void total_lines(const T* x, ScanLines lines, Walk walk, LineCut cut, SumOf<T>* totals) {
  for (int64_t task = grid_thread(); task < lines.count() * cut.chunks; task += grid_threads()) {
    const int64_t part = task / lines.count(), line = task - part * lines.count();
    const int64_t end = ::min(walk.n, (part + 1) * cut.chunk);
    const T* from = x + lines.start(line, lines.n);
    SumOf<T> sum = 0;
#pragma unroll 4
    for (int64_t i = part * cut.chunk; i < end; ++i) sum += to_sum(from[walk.at(i)]);
    totals[line * cut.chunks + part] = sum;
  }
}

template <class T>
__global__ void scan_strided(const T* x, T* y, ScanLines lines, Walk walk, LineCut cut,
                             const SumOf<T>* carries) {
  for (int64_t task = grid_thread(); task < lines.count() * cut.chunks; task += grid_threads()) {
    const int64_t part = task / lines.count(), line = task - part * lines.count();
    const int64_t end = ::min(walk.n, (part + 1) * cut.chunk), start = lines.start(line, lines.n);
    SumOf<T> sum = carries ? carries[line * cut.chunks + part] : SumOf<T>(0);
#pragma unroll 4
    for (int64_t i = part * cut.chunk; i < end; ++i) {
      sum += to_sum(x[start + walk.at(i)]);
      y[start + walk.at(i)] = from_sum<T>(sum);
    }
  }
}

// A warp per line: each chunk's total becomes the sum of the chunks before it.
template <class Value>
__global__ void __launch_bounds__(32) carry_totals(Value* totals, int64_t chunks) {
  Value* own = totals + blockIdx.x * chunks;
  Value carry = 0;
  for (int64_t first = 0; first < chunks; first += 32) {
    const int64_t i = first + lane_index();
    const Value value = i < chunks ? own[i] : Value(0), inclusive = warp_inclusive(value);
    const Value before = __shfl_up_sync(whole_warp, inclusive, 1);
    if (i < chunks) own[i] = lane_index() ? carry + before : carry;
    carry += __shfl_sync(whole_warp, inclusive, 31);
  }
}

// ---- extremes

struct Candidate {
  unsigned long long order;
  long long index;

  // Behind every element.
  static __device__ __forceinline__ Candidate none() { return {0, LLONG_MAX}; }
};

__device__ __forceinline__ Candidate earlier(const Candidate& a, const Candidate& b) {
  const bool first = a.order > b.order || (a.order == b.order && a.index < b.index);
  return first ? a : b;
}

__device__ __forceinline__ Candidate warp_earliest(Candidate own) {
  for (int offset = 16; offset > 0; offset /= 2)
    own = earlier(own, {__shfl_xor_sync(whole_warp, own.order, offset),
                        __shfl_xor_sync(whole_warp, own.index, offset)});
  return own;
}

// A block per chunk of a row.
template <class T>
__global__ void __launch_bounds__(threads)
    extreme_rows(const T* x, int64_t n, LineCut cut, bool largest, Candidate* candidates,
                 int64_t* y) {
  EMULSION_SHARED(Candidate, of_warps, [threads / 32]);
  const int64_t line = blockIdx.x / cut.chunks, part = blockIdx.x - line * cut.chunks;
  const int64_t end = ::min(n, (part + 1) * cut.chunk);
  const T* from = x + line * n;
  Candidate best = Candidate::none();
#pragma unroll 4
  for (int64_t i = part * cut.chunk + threadIdx.x; i < end; i += threads)
    best = earlier(best, {order_of(from[i], largest), i});
  best = warp_earliest(best);
  if (lane_index() == 0) of_warps[warp_index()] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < threads / 32; ++w) best = earlier(best, of_warps[w]);
  if (candidates)
    candidates[blockIdx.x] = best;
  else
    y[line] = best.index;
}

// A thread per chunk of a line.
template <class T>
__global__ void extreme_lines(const T* x, ScanLines lines, LineCut cut, bool largest,
                              Candidate* candidates, int64_t* y) {
  for (int64_t task = grid_thread(); task < lines.count() * cut.chunks; task += grid_threads()) {
    const int64_t part = task / lines.count(), line = task - part * lines.count();
    const int64_t end = ::min(lines.n, (part + 1) * cut.chunk);
    const T* from = x + lines.start(line, lines.n);
    Candidate best = Candidate::none();
#pragma unroll 4
    for (int64_t i = part * cut.chunk; i < end; ++i)
      best = earlier(best, {order_of(from[i * lines.inner], largest), i});
    if (candidates)
      candidates[line * cut.chunks + part] = best;
    else
      y[line] = best.index;
  }
}

// A warp per line.
__global__ void __launch_bounds__(32)
    fold_candidates(const Candidate* candidates, int64_t chunks, int64_t* y) {
  Candidate best = Candidate::none();
  for (int64_t i = lane_index(); i < chunks; i += 32)
    best = earlier(best, candidates[blockIdx.x * chunks + i]);
  best = warp_earliest(best);
  if (lane_index() == 0) y[blockIdx.x] = best.index;
}

// ---- launches

bool in_rows(const ScanLines& lines) { return lines.inner == 1 && lines.n >= shortest_row; }

LineCut cut_of(const ScanLines& lines) {
  return in_rows(lines) ? LineCut(lines, 8 * tile, 1024) : LineCut(lines, 64, 1 << 17);
}

Grid block_grid(int64_t blocks, int threads) {
  return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads))};
}

template <class T>
void run_cumsum(const View& x, const ScanLines& lines, bool reverse, View& y) {
  using Value = SumOf<T>;
  const LineCut cut = cut_of(lines);
  const bool rows = in_rows(lines);
  const Walk walk{lines.n, lines.inner, reverse};
  const int64_t tasks = lines.count() * cut.chunks;
  const T* from = x.as<T>();
  const auto scan = [&](const Value* carries) {
    if (rows)
      launch("cumsum", scan_rows<T>, block_grid(tasks, threads), from, y.as<T>(), walk, cut,
             carries);
    else
      launch("cumsum", scan_strided<T>, stream_grid(tasks), from, y.as<T>(), lines, walk, cut,
             carries);
  };
  if (cut.chunks == 1) return scan(nullptr);
  const Workspace totals(tasks * static_cast<int64_t>(sizeof(Value)));
  if (rows)
    launch("cumsum", total_rows<T>, block_grid(tasks, threads), from, walk, cut,
           totals.as<Value>());
  else
    launch("cumsum", total_lines<T>, stream_grid(tasks), from, lines, walk, cut,
           totals.as<Value>());
  launch("cumsum", carry_totals<Value>, block_grid(lines.count(), 32), totals.as<Value>(),
         cut.chunks);
  scan(totals.as<Value>());
}

template <class T>
void run_extreme(const View& x, const ScanLines& lines, bool largest, View& y) {
  const LineCut cut = cut_of(lines);
  const int64_t tasks = lines.count() * cut.chunks;
  const T* from = x.as<T>();
  const auto search = [&](Candidate* candidates) {
    if (in_rows(lines))
      launch("argmax/argmin", extreme_rows<T>, block_grid(tasks, threads), from, lines.n, cut,
             largest, candidates, y.as<int64_t>());
    else
      launch("argmax/argmin", extreme_lines<T>, stream_grid(tasks), from, lines, cut, largest,
             candidates, y.as<int64_t>());
  };
  if (cut.chunks == 1) return search(nullptr);
  const Workspace candidates(tasks * static_cast<int64_t>(sizeof(Candidate)));
  search(candidates.as<Candidate>());
  launch("argmax/argmin", fold_candidates, block_grid(lines.count(), 32),
         static_cast<const Candidate*>(candidates.as<Candidate>()), cut.chunks, y.as<int64_t>());
}

}  // namespace

void cumsum(const View& x, int64_t axis, bool reverse, View& y) {
  const ScanLines lines = checked_cumsum(x, axis, y);
  if (x.numel() == 0) return;
  dispatch_numeric(x.dtype, "cumsum", [&]<class T>() { run_cumsum<T>(x, lines, reverse, y); });
}

void arg_extreme(const View& x, int64_t axis, bool largest, View& y) {
  const ScanLines lines = checked_arg_extreme(x, axis, y);
  if (lines.count() == 0) return;
  dispatch_orderable(x.dtype, "argmax/argmin",
                     [&]<class T>() { run_extreme<T>(x, lines, largest, y); });
}

}  // namespace emulsion::cuda
