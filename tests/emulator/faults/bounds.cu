// Places that a kernel must not touch.
#include "faults.h"

namespace emulsion::cuda {
namespace {

constexpr int threads = 64;

// ---- global memory

template <int shift>
__global__ void read_shifted(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x + shift];  // wrong: read_past_end, use_after_release
}

template <int shift>
void run_read() {
  Buffer x(numbers(threads));
  Buffer<float> y(threads);
  launch("case", read_shifted<shift>, Grid{1, threads}, (const float*)x, (float*)y);
}

template <int shift>
__global__ void write_shifted(float* y) {
  y[static_cast<int>(threadIdx.x) - shift] = 1;  // wrong: write_before_start
}

template <int shift>
void run_write() {
  Buffer<float> y(threads);
  launch("case", write_shifted<shift>, Grid{1, threads}, (float*)y);
}

__global__ void write_far(float* y, int64_t distance) {
  y[distance + threadIdx.x] = 1;  // wrong: write_into_other_block
}
__global__ void write_two(float* y, float* z) { y[threadIdx.x] = z[threadIdx.x] = 1; }

void run_far() {
  Buffer<float> y(threads), z(threads);
  launch("case", write_far, Grid{1, threads}, (float*)y, static_cast<int64_t>(z - y));
}
void run_two() {
  Buffer<float> y(threads), z(threads);
  launch("case", write_two, Grid{1, threads}, (float*)y, (float*)z);
}

struct Table {
  float* rows[2];
};
__global__ void write_rows(const Table* table) {
  table->rows[blockIdx.x][threadIdx.x] = 1;  // wrong: table_of_released
}

template <bool wrong>
void run_table() {
  Buffer<float> y(threads), z(threads);
  Buffer table(std::vector<Table>{{{y, z}}});
  if (wrong) z.release();
  launch("case", write_rows, Grid{2, threads}, (const Table*)table);
}

template <int shift>
__global__ void copy_packs(const float* x, float* y) {
  const Pack<float, 4> pack = load_pack(x + shift + 4 * threadIdx.x);  // wrong: misaligned_pack
  store_pack(y + 4 * threadIdx.x, pack);
}

template <int shift>
void run_packs() {
  Buffer x(numbers(4 * threads + 4));
  Buffer<float> y(4 * threads);
  launch("case", copy_packs<shift>, Grid{1, threads}, (const float*)x, (float*)y);
}

template <bool wrong>
void run_released() {
  Buffer x(numbers(threads));
  Buffer<float> y(threads);
  const float* late = x;
  if (wrong) x.release();
  launch("case", read_shifted<0>, Grid{1, threads}, late, (float*)y);
}

template <bool wrong>
__global__ void add_up(float* sum) {
  if (!wrong) sum[threadIdx.x] = 0;
  sum[threadIdx.x] += 1;  // wrong: unwritten_global
}

template <bool wrong>
void run_sum() {
  Buffer<float> sum(threads);
  launch("case", add_up<wrong>, Grid{1, threads}, (float*)sum);
}

// ---- host memory, other threads' memory

__global__ void write_host(float* y) {
  y[threadIdx.x] = 1;  // wrong: write_to_host
}
template <bool wrong>
void run_write_host() {
  std::vector<float> host(threads);
  Buffer<float> device(threads);
  launch("case", write_host, Grid{1, threads}, wrong ? host.data() : (float*)device);
}

__global__ void read_host(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];  // wrong: read_from_host
}
template <bool wrong>
void run_read_host() {
  const std::vector<float> host = numbers(threads);
  Buffer device(host);
  Buffer<float> y(threads);
  launch("case", read_host, Grid{1, threads}, wrong ? host.data() : (const float*)device,
         (float*)y);
}

template <bool wrong>
__global__ void read_local(float* y) {
  EMULSION_SHARED(const float*, where, [1]);
  EMULSION_SHARED(float, value, [1]);
  float local[4] = {1, 2, 3, 4};
  if (threadIdx.x == 0) {
    where[0] = local;
    value[0] = local[y != nullptr];
  }
  __syncthreads();
  y[threadIdx.x] = wrong ? *where[0] : value[0];  // wrong: read_local
  __syncthreads();
}
template <bool wrong>
void run_local() {
  Buffer<float> y(threads);
  launch("case", read_local<wrong>, Grid{1, threads}, (float*)y);
}

// ---- shared memory

__global__ void fill_dynamic() {
  reinterpret_cast<float*>(dynamic_shared())[threadIdx.x] = 1;  // wrong: past_dynamic_shared
}
template <size_t bytes>
void run_dynamic() {
  launch("case", fill_dynamic, Grid{1, threads, bytes});
}

template <int shift>
__global__ void fill_array() {
  EMULSION_SHARED(float, array, [threads]);
  array[threadIdx.x + shift] = 1;  // wrong: past_shared_array
}
template <int shift>
void run_array() {
  launch("case", fill_array<shift>, Grid{1, threads});
}

template <bool wrong>
__global__ void read_unwritten(float* y) {
  EMULSION_SHARED(float, array, [threads]);
  if (!wrong || threadIdx.x != 5) array[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = array[threads - 1 - threadIdx.x];  // wrong: unwritten_shared
}
template <bool wrong>
void run_unwritten() {
  Buffer<float> y(threads);
  launch("case", read_unwritten<wrong>, Grid{1, threads}, (float*)y);
}

template <int count>
__global__ void take_shared() {
  EMULSION_SHARED(float, array, [count]);
  array[threadIdx.x] = 1;
}
template <int count>
void run_too_much() {
  launch("case", take_shared<count>, Grid{1, threads, 90 << 10});
}
template <size_t bytes>
void run_too_much_dynamic() {
  launch("case", fill_dynamic, Grid{1, threads, bytes});
}

// Each instance of a template has arrays of its own.
template <int which>
__device__ float* own_array() {
  EMULSION_SHARED(float, array, [32]);
  return array;
}
template <bool wrong>
__global__ void two_arrays() {
  own_array<0>()[threadIdx.x] = 1;
  own_array<wrong ? 0 : 1>()[31 - threadIdx.x] = 2;  // wrong: array_of_an_instance
}
template <bool wrong>
void run_two_arrays() {
  launch("case", two_arrays<wrong>, Grid{1, 32});
}

}  // namespace

const std::vector<Case> bounds_cases = {
    {"read_past_end", run_read<1>, run_read<0>},
    {"write_before_start", run_write<1>, run_write<0>},
    {"write_into_other_block", run_far, run_two},
    {"table_of_released", run_table<true>, run_table<false>},
    {"misaligned_pack", run_packs<1>, run_packs<4>},
    {"use_after_release", run_released<true>, run_released<false>},
    {"unwritten_global", run_sum<true>, run_sum<false>},
    {"write_to_host", run_write_host<true>, run_write_host<false>},
    {"read_from_host", run_read_host<true>, run_read_host<false>},
    {"read_local", run_local<true>, run_local<false>},
    {"past_dynamic_shared", run_dynamic<4 * threads - 4>, run_dynamic<4 * threads>},
    {"past_shared_array", run_array<1>, run_array<0>},
    {"unwritten_shared", run_unwritten<true>, run_unwritten<false>},
    {"too_much_shared", run_too_much<4096>, run_too_much<256>},
    {"too_much_dynamic", run_too_much_dynamic<(99 << 10) + 4>, run_too_much_dynamic<99 << 10>},
    {"array_of_an_instance", run_two_arrays<true>, run_two_arrays<false>},
};

}  // namespace emulsion::cuda
