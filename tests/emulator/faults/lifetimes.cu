// What must hold from launch to launch: memory comes back, numbers may come again, threads of the
// host do not see each other, and a thrown error ends one launch only.
#include <stdexcept>
#include <thread>

#include "faults.h"

namespace emulsion::cuda {
namespace {

// ---- launches are numbered in few bits, and the marks of memory name them

__global__ void write_from(float* y, unsigned first, unsigned last) {
  if (blockIdx.x >= first && blockIdx.x <= last) y[0] = 1;  // wrong: numbers_again
}
__global__ void idle() {}

template <bool wrong>
void run_numbers() {
  Buffer<float> y(1);
  launch("case", write_from, Grid{2, 1}, (float*)y, 1u, 1u);
  for (int i = 0; i < 65530; ++i) launch("case", idle, Grid{1, 1});
  for (int i = 0; i < 10; ++i) launch("case", write_from, Grid{2, 1}, (float*)y, 0u, 0u);
  if (wrong) launch("case", write_from, Grid{2, 1}, (float*)y, 0u, 1u);
}

// ---- the arena

void run_blocks() {
  constexpr size_t live = 16 << 20;
  const size_t before = emulator::global_memory().reach();
  for (int turn = 0; turn < 40; ++turn)
    for (size_t bytes = 1000; bytes < live; bytes = bytes * 3 + 1) {
      const Buffer<uint8_t> one(bytes), two(bytes + 300);
      launch("case", idle, Grid{1, 1});
    }
  const size_t grown = emulator::global_memory().reach() - before;
  if (grown > 8 * live) fail(ErrorCode::internal, "the arena grew by ", grown, " bytes");
}

// ---- threads of the host

template <bool wrong>
__global__ void fill(float* y) {
  EMULSION_SHARED(float, array, [64]);
  array[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (!wrong) __syncthreads();
  y[grid_thread()] = array[63 - threadIdx.x];  // wrong: host_threads
}

template <bool wrong>
void run_host_threads() {
  std::vector<std::thread> threads;
  std::string reports[3];
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&, i] {
      try {
        for (int turn = 0; turn < 20; ++turn) {
          Buffer<float> y(256);
          if (wrong && i == 1)
            launch("case", fill<true>, Grid{4, 64}, (float*)y);
          else
            launch("case", fill<false>, Grid{4, 64}, (float*)y);
        }
      } catch (const std::exception& error) {
        reports[i] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& report : reports)
    if (!report.empty()) throw std::runtime_error(report);
}

// ---- errors that kernels throw

template <bool wrong>
__global__ void throw_error(int* y) {
  if (wrong && threadIdx.x == 3) throw std::runtime_error("from thread 3");
  y[threadIdx.x] = 1;
}
template <bool wrong>
void run_throw() {
  Buffer<int> y(64);
  launch("case", throw_error<wrong>, Grid{1, 64}, (int*)y);
}

}  // namespace

const std::vector<Case> lifetime_cases = {
    {"numbers_again", run_numbers<true>, run_numbers<false>},
    {"arena", nullptr, run_blocks},
    {"host_threads", run_host_threads<true>, run_host_threads<false>},
    {"kernel_throws", run_throw<true>, run_throw<false>},
};

}  // namespace emulsion::cuda
