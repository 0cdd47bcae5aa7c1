// Random numbers: the same bits as on the CPU, as ops/random.h defines them.
//
// A thread makes one Philox block of four words: four numbers, or two integers of 64 random bits,
// written at once where rows and pointers allow. The integer multiplier (20 wide products a block)
// and Box-Muller (about 50 instructions a pair) weigh as much as the bytes written. No bit hangs on
// the compiler: what may be contracted is written as fused already, and sqrt, products and
// conversions round correctly.
//
// A permutation is one chain of swaps, each of which needs the ones before: the words are drawn by
// all threads, the swaps are done by a single one, at the latency of the cache.
#include "ops/random.h"

#include "core/normal.h"
#include "core/philox.h"
#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {
namespace {

// Where the numbers of a call come from and how they lie in y: [rows, length], blocks to a row.
struct Source {
  uint64_t seed, first_block;
  uint32_t stream;
  int64_t first_sample;
  const int64_t* seeds = nullptr;
  const int64_t* samples = nullptr;
  int64_t rows, length, blocks;
  Divisor by_blocks;

  __device__ __forceinline__ int64_t row_of(int64_t index) const {
    if (rows == 1) return 0;
    uint32_t rest;
    return index >> 31 == 0 ? by_blocks(static_cast<uint32_t>(index), rest) : index / blocks;
  }
  __device__ __forceinline__ PhiloxBlock draw(int64_t row, int64_t block) const {
    return philox(seeds ? static_cast<uint64_t>(seeds[row]) : seed, stream,
                  static_cast<uint32_t>(samples ? samples[row] : first_sample + row),
                  first_block + static_cast<uint64_t>(block));
  }
};

template <class T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (__is_same(Accumulator<T>, float))
    return narrow<T>(value);
  else
    return static_cast<T>(value);
}

// ---- what a block of words becomes: `size` elements of any of its types

struct Normal {
  static constexpr int size = 4;
  float mean, std;
  template <class T>
  __device__ __forceinline__ void operator()(const PhiloxBlock& block, T (&to)[size]) const {
#pragma unroll
    for (int i = 0; i < size; i += 2) {
      const NormalPair pair = box_muller(block.word[i], block.word[i + 1]);
      to[i] = narrow<T>(fused(pair.first, std, mean));
      to[i + 1] = narrow<T>(fused(pair.second, std, mean));
    }
  }
};

struct Uniform {
  static constexpr int size = 4;
  float low, high, range;
  template <class T>
  __device__ __forceinline__ void operator()(const PhiloxBlock& block, T (&to)[size]) const {
#pragma unroll
    for (int i = 0; i < size; ++i) {
      const T value = narrow<T>(fused(philox_uniform<uniform_bits<T>>(block.word[i]), range, low));
      to[i] = widen(value) < high ? value : narrow<T>(low);
    }
  }
};

struct Integers {
  static constexpr int size = 2;
  uint64_t low, range;
  template <class T>
  __device__ __forceinline__ void operator()(const PhiloxBlock& block, T (&to)[size]) const {
#pragma unroll
    for (int i = 0; i < size; ++i) {
      const uint64_t word = static_cast<uint64_t>(block.word[2 * i + 1]) << 32 | block.word[2 * i];
      const auto value = static_cast<int64_t>(low + __umul64hi(word, range));
      if constexpr (__is_same(Accumulator<T>, float))
        to[i] = narrow<T>(static_cast<float>(value));
      else
        to[i] = static_cast<T>(value);
    }
  }
};

struct Bernoulli {
  static constexpr int size = 4;
  float p;
  template <class T>
  __device__ __forceinline__ void operator()(const PhiloxBlock& block, T (&to)[size]) const {
#pragma unroll
    for (int i = 0; i < size; ++i)
      to[i] = from_float<T>(philox_uniform(block.word[i]) < p ? 1.0f : 0.0f);
  }
};

// `packed`: whole blocks lie at borders of their own size.
template <class Draw, class T>
__global__ void __launch_bounds__(stream_threads)
    draw_kernel(Draw draw, Source source, bool packed, T* y) {
  constexpr int size = Draw::size;
  for (int64_t i = grid_thread(); i < source.rows * source.blocks; i += grid_threads()) {
    const int64_t row = source.row_of(i), block = i - row * source.blocks;
    const int64_t left = source.length - block * size;
    T* to = y + row * source.length + block * size;
    Pack<T, size> pack;
    draw(source.draw(row, block), pack.values);
    if (packed && left >= size)
      store_pack(to, pack);
    else
#pragma unroll
      for (int k = 0; k < size; ++k)
        if (k < left) to[k] = pack.values[k];
  }
}

template <class T>
__global__ void __launch_bounds__(stream_threads)
    dropout_kernel(const T* x, float p, float scale, Source source, bool packed, T* y) {
  for (int64_t i = grid_thread(); i < source.rows * source.blocks; i += grid_threads()) {
    const int64_t row = source.row_of(i), block = i - row * source.blocks;
    const int64_t left = source.length - block * 4, first = row * source.length + block * 4;
    const bool whole = packed && left >= 4;
    Pack<T, 4> pack;
    if (whole)
      pack = load_pack<T, 4>(x + first);
    else
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) pack.values[k] = x[first + k];
    const PhiloxBlock words = source.draw(row, block);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (whole || k < left)
        pack.values[k] =
            narrow<T>(philox_uniform(words.word[k]) >= p ? widen(pack.values[k]) * scale : 0.0f);
    if (whole)
      store_pack(y + first, pack);
    else
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) y[first + k] = pack.values[k];
  }
}

// The identity, and the partner that each element is swapped with.
__global__ void draw_swaps(Source source, int64_t* y, int64_t* partners) {
  for (int64_t i = grid_thread(); i < source.length; i += grid_threads()) {
    const PhiloxBlock block = source.draw(0, i);
    const uint64_t word = static_cast<uint64_t>(block.word[1]) << 32 | block.word[0];
    y[i] = i;
    partners[i] = static_cast<int64_t>(__umul64hi(word, static_cast<uint64_t>(i + 1)));
  }
}

__global__ void swap_in_order(const int64_t* __restrict__ partners, int64_t* y, int64_t count) {
  for (int64_t i = count - 1; i > 0; --i) {
    const int64_t other = partners[i], value = y[i];
    y[i] = y[other];
    y[other] = value;
  }
}

// ---- launches

Source make_source(const char* op, int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                   const View& seeds, const View& samples, const View& y, int per_block) {
  const int64_t rows = checked_random_rows(op, stream, step, first_sample, seeds, samples, y);
  Source source;
  source.seed = static_cast<uint64_t>(seed);
  source.first_block = static_cast<uint64_t>(step) << 32;
  source.stream = static_cast<uint32_t>(stream);
  source.first_sample = first_sample;
  if (seeds) source.seeds = seeds.as<int64_t>();
  if (samples) source.samples = samples.as<int64_t>();
  if (samples.present) check_indices(op, samples, random_limit);
  source.rows = rows;
  source.length = rows ? y.numel() / rows : 0;
  source.blocks = ceil_div(source.length, per_block);
  // Fewer blocks than that, or the division is by plain arithmetic.
  source.by_blocks = Divisor(std::clamp<int64_t>(source.blocks, 1, int64_t{1} << 31));
  return source;
}

template <class T, int size, class... Pointers>
bool lie_in_packs(const Source& source, const Pointers*... pointers) {
  return (source.rows == 1 || source.length % size == 0) &&
         (is_aligned(pointers, size * sizeof(T)) && ...);
}

template <class T, class Draw>
void run(const char* op, const Draw& draw, const Source& source, View& y) {
  launch(op, draw_kernel<Draw, T>, stream_grid(source.rows * source.blocks), draw, source,
         lie_in_packs<T, Draw::size>(source, y.data), y.as<T>());
}

}  // namespace

void random_normal(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                   const View& seeds, const View& samples, double mean, double std, View& y) {
  const Source source = make_source("random_normal", seed, stream, step, first_sample, seeds,
                                    samples, y, Normal::size);
  const Normal draw{static_cast<float>(mean), static_cast<float>(std)};
  dispatch_float(y.dtype, "random_normal",
                 [&]<class T>() { run<T>("random_normal", draw, source, y); });
}

void random_uniform(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                    const View& seeds, const View& samples, double low, double high, View& y) {
  const Source source = make_source("random_uniform", seed, stream, step, first_sample, seeds,
                                    samples, y, Uniform::size);
  check_random_uniform(low, high);
  const Uniform draw{static_cast<float>(low), static_cast<float>(high),
                     static_cast<float>(high - low)};
  dispatch_float(y.dtype, "random_uniform",
                 [&]<class T>() { run<T>("random_uniform", draw, source, y); });
}

void random_integers(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                     const View& seeds, const View& samples, int64_t low, int64_t high, View& y) {
  const Source source = make_source("random_integers", seed, stream, step, first_sample, seeds,
                                    samples, y, Integers::size);
  check_random_integers(low, high, y);
  const Integers draw{static_cast<uint64_t>(low),
                      static_cast<uint64_t>(high) - static_cast<uint64_t>(low)};
  dispatch_numeric(y.dtype, "random_integers",
                   [&]<class T>() { run<T>("random_integers", draw, source, y); });
}

void random_bernoulli(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                      const View& seeds, const View& samples, double p, View& y) {
  const Source source = make_source("random_bernoulli", seed, stream, step, first_sample, seeds,
                                    samples, y, Bernoulli::size);
  const Bernoulli draw{static_cast<float>(p)};
  if (y.dtype == DType::boolean)  // true is a byte of 1
    return run<uint8_t>("random_bernoulli", draw, source, y);
  dispatch_numeric(y.dtype, "random_bernoulli",
                   [&]<class T>() { run<T>("random_bernoulli", draw, source, y); });
}

void dropout(int64_t seed, int64_t stream, int64_t step, double p, const View& x, View& y) {
  const Source source = make_source("dropout", seed, stream, step, 0, View(), View(), y, 4);
  check_dropout(p, x, y);
  dispatch_float(y.dtype, "dropout", [&]<class T>() {
    launch("dropout", dropout_kernel<T>, stream_grid(source.rows * source.blocks),
           static_cast<const T*>(x.as<T>()), static_cast<float>(p),
           static_cast<float>(1.0 / (1.0 - p)), source, lie_in_packs<T, 4>(source, x.data, y.data),
           y.as<T>());
  });
}

void random_permutation(int64_t seed, int64_t stream, int64_t step, View& y) {
  Source source = make_source("random_permutation", seed, stream, step, 0, View(), View(), y, 1);
  check_random_permutation(y);
  source.length = y.numel();  // one row: the elements of rank 1 are no samples
  if (source.length == 0) return;
  const Workspace partners(source.length * static_cast<int64_t>(sizeof(int64_t)));
  launch("random_permutation", draw_swaps, stream_grid(source.length), source, y.as<int64_t>(),
         partners.as<int64_t>());
  launch("random_permutation", swap_in_order, Grid{dim3(1), dim3(1)},
         static_cast<const int64_t*>(partners.as<int64_t>()), y.as<int64_t>(), source.length);
}

}  // namespace emulsion::cuda
