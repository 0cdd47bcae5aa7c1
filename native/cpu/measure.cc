// Peak FMA rate and copy bandwidth of this machine. The best of several short rounds counts: a
// limit is what the hardware can do, not what a busy moment left of it.
#include "ops/measure.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void check_result(const View& y, const char* op) {
  EMULSION_CHECK(y && y.dtype == DType::float64 && y.numel() == 1, op, ": y must be float64 [1]");
}

// In huge pages where the system has them, as large tensors lie.
char* huge_block(size_t bytes) {
  constexpr size_t page = size_t{2} << 20;
  const size_t size = (bytes + page - 1) / page * page;
  void* block = std::aligned_alloc(page, size);
#if defined(__linux__)
  if (block) madvise(block, size, MADV_HUGEPAGE);
#endif
  return static_cast<char*>(block);
}

// Twelve independent chains cover latency 4 x 2 ports and fit the 16 registers of the lower levels.
constexpr int chains = 12;

// Hides a value from the optimiser, so that the chain is computed as written.
EMULSION_INLINE void keep(Vec<float>& value) {
#if defined(__x86_64__)
  asm volatile("" : "+v"(value.lanes));
#else
  asm volatile("" : "+w"(value.lanes));
#endif
}

float run_chains(int64_t rounds) {
  Vec<float> sums[chains];
  // All loops over the chains are unrolled: one that is not would put them into memory, and the
  // measurement would be of stores.
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) sums[i] = Vec<float>(static_cast<float>(i));
  const Vec<float> a(1.0000001f), b(1e-9f);
  for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) {
      sums[i] = fma(sums[i], a, b);
      keep(sums[i]);
    }
  Vec<float> total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < chains; ++i) total += sums[i];
  return sum(total);
}

}  // namespace

void measure_flops(double seconds, View& y) {
  check_result(y, "measure_flops");
  EMULSION_CHECK(seconds > 0 && seconds <= 10, "measure_flops: seconds must be in (0, 10], got ",
                 seconds);
  constexpr int64_t rounds = 200000;
  const int threads = num_threads();
  double best = 0;
  volatile float sink = 0;
  for (const double start = now(); now() - start < seconds;) {
    const double begin = now();
    parallel_for(threads, 1, [&](int64_t, int64_t) { sink = run_chains(rounds); });
    const double flops = 2.0 * chains * Vec<float>::size * rounds * threads / (now() - begin);
    best = flops > best ? flops : best;
  }
  (void)sink;
  *y.as<double>() = best;
}

void measure_bandwidth(int64_t bytes, int64_t repeats, View& y) {
  check_result(y, "measure_bandwidth");
  EMULSION_CHECK(bytes >= 4096 && bytes <= (int64_t{4} << 30),
                 "measure_bandwidth: bytes must be in [4 KiB, 4 GiB]");
  EMULSION_CHECK(repeats >= 1 && repeats <= 1000,
                 "measure_bandwidth: repeats must be in [1, 1000]");
  char* from = huge_block(static_cast<size_t>(bytes));
  char* to = huge_block(static_cast<size_t>(bytes));
  if (!from || !to) {
    std::free(from);
    std::free(to);
    fail(ErrorCode::out_of_memory, "measure_bandwidth: no room for two buffers of ", bytes,
         " bytes");
  }
  std::memset(from, 1, static_cast<size_t>(bytes));
  std::memset(to, 2, static_cast<size_t>(bytes));
  double best = 0;
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    const double begin = now();
    parallel_for(bytes, 4096, [&](int64_t first, int64_t last) {
      std::memcpy(to + first, from + first, static_cast<size_t>(last - first));
    });
    const double rate = 2.0 * static_cast<double>(bytes) / (now() - begin);
    best = rate > best ? rate : best;
  }
  std::free(from);
  std::free(to);
  *y.as<double>() = best;
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
