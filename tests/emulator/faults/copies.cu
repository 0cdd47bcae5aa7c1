// cp.async: what has not been waited for, and what still reads.
#include "faults.h"

namespace emulsion::cuda {
namespace {

constexpr int threads = 64, stages = 3, steps = 7;

enum class Mistake {
  none,
  no_wait,
  wait_too_short,
  no_barrier,
  early_fetch,
  written_on_the_way,
  unwritten_source,
};

// A pipeline of `stages` tiles: every thread copies its 16 bytes of a tile and reads those of a
// thread of the other warp.
template <Mistake mistake>
__global__ void pipeline(const float* x, float* y) {
  auto* tiles = reinterpret_cast<float*>(dynamic_shared());
  const int self = threadIdx.x, other = (self + 32) % threads;
  const auto fetch = [&](int step) {
    float* to = tiles + 4 * (step % stages * threads + self);
    const float* from = x + 4 * (int64_t{step} * threads + self);
    if (step < steps) cp_async<16>(to, from);  // wrong: early_fetch, unwritten_source
    cp_async_commit();
  };
  for (int step = 0; step < stages - 1; ++step) fetch(step);
  float sum = 0;
  for (int step = 0; step < steps; ++step) {
    if (mistake == Mistake::early_fetch) fetch(step + stages - 1);
    if (mistake == Mistake::wait_too_short)
      cp_async_wait<stages - 1>();
    else if (mistake != Mistake::no_wait)
      cp_async_wait<stages - 2 + (mistake == Mistake::early_fetch)>();
    if (mistake != Mistake::no_barrier) __syncthreads();
    if (mistake != Mistake::early_fetch) fetch(step + stages - 1);
    if (mistake == Mistake::written_on_the_way && step == 1)
      tiles[4 * ((step + stages - 1) % stages * threads + self)] = 0;  // wrong: written_on_the_way
    const float* from = tiles + 4 * (step % stages * threads + other);
    const auto pack = load_pack(from);  // also: no_wait, wait_too_short, no_order, early_fetch
    for (const float value : pack.values) sum += value;
  }
  y[self] = sum;
}

template <Mistake mistake>
void run() {
  Buffer x(numbers(4 * threads * steps));
  Buffer<float> y(threads), unwritten(4 * threads * steps);
  launch("case", pipeline<mistake>, Grid{1, threads, 16 * threads * stages},
         mistake == Mistake::unwritten_source ? (const float*)unwritten : (const float*)x,
         (float*)y);
  const std::vector<float> given = x.values(), sums = y.values();
  for (int i = 0; i < threads; ++i) {
    float sum = 0;
    for (int step = 0; step < steps; ++step)
      for (int j = 0; j < 4; ++j) sum += given[4 * (step * threads + (i + 32) % threads) + j];
    if (sums[i] != sum) fail(ErrorCode::internal, "wrong result at ", i);
  }
}

// Bytes that a copy does not read are zeros.
template <bool wrong>
__global__ void edge(const float* x, float* y) {
  EMULSION_SHARED(float, tile, [4 * threads]);
  const bool inside = wrong || threadIdx.x < threads / 2;
  cp_async<4>(tile + threadIdx.x, x + threadIdx.x, inside);  // wrong: copy_past_end
  cp_async_commit();
  cp_async_wait<0>();
  y[threadIdx.x] = tile[threadIdx.x];
}
template <bool wrong>
void run_edge() {
  Buffer x(numbers(threads / 2));
  Buffer<float> y(threads);
  launch("case", edge<wrong>, Grid{1, threads}, (const float*)x, (float*)y);
  for (size_t i = threads / 2; i < threads; ++i)
    if (y.values()[i] != 0) fail(ErrorCode::internal, "wrong result at ", i);
}

// A thread may return with copies that nobody needs; a later block finds its memory free.
template <bool wrong>
__global__ void leave_early(const float* x, float* y) {
  EMULSION_SHARED(float, tile, [threads]);
  if (threadIdx.x < 32) {
    cp_async<4>(tile + threadIdx.x, x + threadIdx.x);
    cp_async_commit();
    return;
  }
  tile[threadIdx.x] = 1;
  __syncthreads();
  y[grid_thread()] = tile[threadIdx.x - (wrong ? 32 : 0)];  // wrong: returned_without_wait
}
template <bool wrong>
void run_leave() {
  Buffer x(numbers(threads));
  Buffer<float> y(3 * threads);
  launch("case", leave_early<wrong>, Grid{3, threads}, (const float*)x, (float*)y);
}

}  // namespace

const std::vector<Case> copy_cases = {
    {"no_wait", run<Mistake::no_wait>, run<Mistake::none>},
    {"wait_too_short", run<Mistake::wait_too_short>, run<Mistake::none>},
    {"no_order", run<Mistake::no_barrier>, run<Mistake::none>},
    {"early_fetch", run<Mistake::early_fetch>, run<Mistake::none>},
    {"written_on_the_way", run<Mistake::written_on_the_way>, run<Mistake::none>},
    {"unwritten_source", run<Mistake::unwritten_source>, run<Mistake::none>},
    {"copy_past_end", run_edge<true>, run_edge<false>},
    {"returned_without_wait", run_leave<true>, run_leave<false>},
};

}  // namespace emulsion::cuda
