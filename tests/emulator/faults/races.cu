// Threads that touch the same bytes with nothing between them.
#include "faults.h"

namespace emulsion::cuda {
namespace {

constexpr int threads = 64;

// ---- shared memory

template <bool wrong>
__global__ void write_same() {
  EMULSION_SHARED(float, value, [2]);
  if (threadIdx.x % 32 == 0) value[wrong ? 0 : threadIdx.x / 32] = 1;  // wrong: write_write
}

template <bool wrong>
__global__ void reverse(float* y) {
  EMULSION_SHARED(float, array, [threads]);
  array[threadIdx.x] = 0;
  __syncthreads();
  array[threadIdx.x] = 1;
  if (!wrong) __syncthreads();
  y[threadIdx.x] = array[(threadIdx.x + 32) % threads];  // wrong: write_read
}

template <bool wrong>
__global__ void reuse(float* y) {
  EMULSION_SHARED(float, array, [threads]);
  float sum = 0;
  for (int step = 0; step < 2; ++step) {
    array[threadIdx.x] = 1;  // wrong: read_write
    __syncthreads();
    sum += array[(threadIdx.x + 32) % threads];
    if (!wrong) __syncthreads();
  }
  y[threadIdx.x] = sum;
}

enum class Between { nothing, shuffle, part_of_warp, all_of_warp };

template <Between between>
__global__ void neighbours(float* y) {
  EMULSION_SHARED(float, array, [threads]);
  const int self = threadIdx.x;
  array[self] = 0;
  __syncthreads();
  array[self] = 1;
  if (between == Between::shuffle) __shfl_xor_sync(whole_warp, 1.0f, 1);
  if (between == Between::part_of_warp) __syncwarp(self % 32 < 16 ? 0xffffu : 0xffff0000u);
  if (between == Between::all_of_warp) __syncwarp();
  const int other = self ^ (between == Between::part_of_warp ? 16 : 1);
  y[self] = array[other];  // wrong: in_warp, shuffle_between, other_half
}

__global__ void half_warps(float* y) {
  EMULSION_SHARED(float, array, [threads]);
  const int self = threadIdx.x;
  for (int step = 0; step < 3; ++step) {
    const unsigned half = self % 32 < 16 ? 0xffffu : 0xffff0000u;
    array[self] = 1;
    __syncwarp(half);
    y[self] = array[self ^ 1];
    __syncwarp(half);
  }
}

// The writer is the last to read: it alone is not the whole story.
template <bool wrong>
__global__ void read_by_many(float* y) {
  EMULSION_SHARED(float, value, [1]);
  if (threadIdx.x == 0) value[0] = 1;
  __syncthreads();
  y[threadIdx.x] = value[0];
  __shfl_xor_sync(whole_warp, 1, 1);
  const float again = threadIdx.x == 0 ? value[0] : 0;
  if (!wrong) __syncwarp();
  if (threadIdx.x == 0) value[0] = again + 1;  // wrong: writer_reads_last
}

template <int step>
__global__ void write_bytes() {
  EMULSION_SHARED(uint8_t, bytes, [threads]);
  bytes[threadIdx.x / step] = 1;  // wrong: same_byte
}

// Words whose bytes have had different owners, then one.
template <bool wrong>
__global__ void bytes_then_words(uint32_t* y) {
  EMULSION_SHARED(uint32_t, words, [threads / 4]);
  if (threadIdx.x < threads / 4) words[threadIdx.x] = 0;
  __syncthreads();
  reinterpret_cast<uint8_t*>(words)[threadIdx.x] = 1;
  if (!wrong) __syncthreads();
  if (threadIdx.x < threads / 4) y[threadIdx.x] = words[threadIdx.x];  // wrong: word_of_bytes
}

template <bool wrong>
__global__ void count(int* y) {
  EMULSION_SHARED(int, counter, [1]);
  if (threadIdx.x == 0) counter[0] = 0;
  __syncthreads();
  atomicAdd(counter, 1);
  if (!wrong) __syncthreads();
  if (threadIdx.x == 0) y[0] = counter[0];  // wrong: atomic_and_read
}

template <class T, auto kernel, unsigned block = threads>
void run() {
  Buffer<T> y(threads);
  launch("case", kernel, Grid{1, block}, (T*)y);
}
template <auto kernel>
void run_plain() {
  launch("case", kernel, Grid{1, threads});
}

// ---- global memory, between blocks

template <bool wrong>
__global__ void all_write(float* y) {
  const auto at = wrong ? threadIdx.x : static_cast<unsigned>(grid_thread());
  y[at] = 1;  // wrong: blocks_write
}

template <bool wrong>
__global__ void shift_left(const float* x, float* y) {
  const int64_t i = grid_thread();
  y[i] = x[(i + threads) % (2 * threads)];  // wrong: blocks_read
  static_cast<void>(wrong);
}

template <bool wrong>
__global__ void count_blocks(int* y) {
  if (threadIdx.x == 0) atomicAdd(y, 1);
  if (wrong && threadIdx.x == 0 && blockIdx.x == 1) y[1] = *y;  // wrong: blocks_count
}

// Halves of one word belong to different blocks.
template <bool wrong>
__global__ void write_halves(bfloat16* y) {
  const int64_t at = 2 * threadIdx.x + blockIdx.x;
  const float before = to_float(y[at]);              // also: halves_of_a_word
  y[wrong ? at / 2 * 2 : at] = to_bfloat16(before);  // wrong: halves_of_a_word
}

template <bool wrong>
void run_all_write() {
  Buffer<float> y(2 * threads);
  launch("case", all_write<wrong>, Grid{2, threads}, (float*)y);
}
template <bool wrong>
void run_shift() {
  Buffer x(numbers(2 * threads));
  Buffer<float> y(2 * threads);
  launch("case", shift_left<wrong>, Grid{2, threads}, (const float*)x,
         wrong ? (float*)x : (float*)y);
}
template <bool wrong>
void run_count() {
  Buffer y(std::vector<int>{0, 0});
  launch("case", count_blocks<wrong>, Grid{3, threads}, (int*)y);
  if (!wrong && y.values()[0] != 3) fail(ErrorCode::internal, "wrong result");
}
template <bool wrong>
void run_halves() {
  Buffer y(numbers<bfloat16>(2 * threads));
  launch("case", write_halves<wrong>, Grid{2, threads}, (bfloat16*)y);
}

}  // namespace

const std::vector<Case> race_cases = {
    {"write_write", run_plain<write_same<true>>, run_plain<write_same<false>>},
    {"write_read", run<float, reverse<true>>, run<float, reverse<false>>},
    {"read_write", run<float, reuse<true>>, run<float, reuse<false>>},
    {"in_warp", run<float, neighbours<Between::nothing>>,
     run<float, neighbours<Between::all_of_warp>>},
    {"shuffle_between", run<float, neighbours<Between::shuffle>>,
     run<float, neighbours<Between::all_of_warp>>},
    {"other_half", run<float, neighbours<Between::part_of_warp>>, run<float, half_warps>},
    {"writer_reads_last", run<float, read_by_many<true>, 32>, run<float, read_by_many<false>, 32>},
    {"same_byte", run_plain<write_bytes<2>>, run_plain<write_bytes<1>>},
    {"word_of_bytes", run<uint32_t, bytes_then_words<true>>,
     run<uint32_t, bytes_then_words<false>>},
    {"atomic_and_read", run<int, count<true>>, run<int, count<false>>},
    {"blocks_write", run_all_write<true>, run_all_write<false>},
    {"blocks_read", run_shift<true>, run_shift<false>},
    {"blocks_count", run_count<true>, run_count<false>},
    {"halves_of_a_word", run_halves<true>, run_halves<false>},
};

}  // namespace emulsion::cuda
