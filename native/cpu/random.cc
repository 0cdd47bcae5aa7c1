// Random numbers on the CPU: blocks of Philox in lanes of sixteen, which the compiler turns into
// vectors, then one small function per kind of number. Bound by the integer multiplier: about 1 ns
// per number and core.
#include "ops/random.h"

#include "core/normal.h"
#include "core/philox.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int lanes = 16;
constexpr int words_per_batch = 4 * lanes;

// Where the numbers of a call come from.
struct Source {
  int64_t seed, stream, step, first_sample;
  const int64_t* seeds = nullptr;
  const int64_t* samples = nullptr;

  uint64_t seed_of(int64_t row) const { return static_cast<uint64_t>(seeds ? seeds[row] : seed); }
  uint32_t sample_of(int64_t row) const {
    return static_cast<uint32_t>(samples ? samples[row] : first_sample + row);
  }
  uint64_t first_block() const { return static_cast<uint64_t>(step) << 32; }
};

Source make_source(const char* op, int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                   const View& seeds, const View& samples, const View& y) {
  const int64_t rows = checked_random_rows(op, stream, step, first_sample, seeds, samples, y);
  Source source{seed, stream, step, first_sample};
  if (seeds) source.seeds = seeds.as<int64_t>();
  if (samples) source.samples = samples.as<int64_t>();
  if (source.samples)
    for (int64_t row = 0; row < rows; ++row)
      EMULSION_CHECK(source.samples[row] >= 0 && source.samples[row] < random_limit, op,
                     ": sample number ", source.samples[row], " is outside [0, 2^32)");
  return source;
}

// Sixteen consecutive blocks in element order. The compiler makes vectors of the lanes; the same in
// explicit vectors was a third slower.
EMULSION_INLINE void philox_batch(uint64_t seed, uint32_t stream, uint32_t sample, uint64_t block,
                                  uint32_t* words) {
  PhiloxBlock blocks[lanes];
  for (int lane = 0; lane < lanes; ++lane)
    blocks[lane] = philox(seed, stream, sample, block + lane);
  std::memcpy(words, blocks, sizeof(blocks));
}

// Calls write(words, element, count) for each batch of a row, `per_batch` elements each; splits
// rows and batches over the threads alike.
template <class Write>
void for_batches(const Source& source, const View& y, int64_t per_batch, Write&& write) {
  if (y.numel() == 0) return;
  const int64_t rows = random_rows(y), length = y.numel() / rows;
  const int64_t batches = (length + per_batch - 1) / per_batch;
  parallel_for(rows * batches, 64, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / batches, batch = task % batches, first = batch * per_batch;
      const int64_t count = length - first < per_batch ? length - first : per_batch;
      uint32_t words[words_per_batch];
      if (count * words_per_batch <=
          4 * per_batch) {  // one block is enough: short rows such as timesteps
        const PhiloxBlock one = philox(source.seed_of(row), static_cast<uint32_t>(source.stream),
                                       source.sample_of(row), source.first_block() + batch * lanes);
        std::memcpy(words, one.word, sizeof(one.word));
      } else {
        philox_batch(source.seed_of(row), static_cast<uint32_t>(source.stream),
                     source.sample_of(row), source.first_block() + batch * lanes, words);
      }
      write(words, row * length + first, count);
    }
  });
}

template <class T>
EMULSION_INLINE void store_floats(const float* values, T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = convert<T>(values[i]);
}

}  // namespace

void random_normal(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                   const View& seeds, const View& samples, double mean, double std, View& y) {
  const Source source =
      make_source("random_normal", seed, stream, step, first_sample, seeds, samples, y);
  const float shift = static_cast<float>(mean), scale = static_cast<float>(std);
  dispatch_floating(y.dtype, "random_normal", [&]<class T>() {
    for_batches(source, y, words_per_batch,
                [&](const uint32_t* words, int64_t element, int64_t count) {
                  float values[words_per_batch];
                  const int64_t pairs = (count + 1) / 2;
                  for (int64_t i = 0; i < pairs; ++i) {
                    const NormalPair pair = box_muller(words[2 * i], words[2 * i + 1]);
                    values[2 * i] = fused(pair.first, scale, shift);
                    values[2 * i + 1] = fused(pair.second, scale, shift);
                  }
                  store_floats(values, y.as<T>() + element, count);
                });
  });
}

void random_uniform(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                    const View& seeds, const View& samples, double low, double high, View& y) {
  const Source source =
      make_source("random_uniform", seed, stream, step, first_sample, seeds, samples, y);
  check_random_uniform(low, high);
  const float from = static_cast<float>(low), range = static_cast<float>(high - low);
  const float end = static_cast<float>(high);
  dispatch_floating(y.dtype, "random_uniform", [&]<class T>() {
    for_batches(source, y, words_per_batch,
                [&](const uint32_t* words, int64_t element, int64_t count) {
                  T* const to = y.as<T>() + element;
                  for (int64_t i = 0; i < count; ++i) {
                    const T value =
                        convert<T>(fused(philox_uniform<uniform_bits<T>>(words[i]), range, from));
                    to[i] = convert<float>(value) < end ? value : convert<T>(from);
                  }
                });
  });
}

void random_integers(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                     const View& seeds, const View& samples, int64_t low, int64_t high, View& y) {
  const Source source =
      make_source("random_integers", seed, stream, step, first_sample, seeds, samples, y);
  check_random_integers(low, high, y);
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  dispatch_all(y.dtype, [&]<class T>() {
    for_batches(
        source, y, words_per_batch / 2, [&](const uint32_t* words, int64_t element, int64_t count) {
          T* to = y.as<T>() + element;
          for (int64_t i = 0; i < count; ++i) {
            const uint64_t word = static_cast<uint64_t>(words[2 * i + 1]) << 32 | words[2 * i];
            const uint64_t scaled =
                static_cast<uint64_t>((static_cast<unsigned __int128>(word) * range) >> 64);
            to[i] = convert<T>(static_cast<int64_t>(static_cast<uint64_t>(low) + scaled));
          }
        });
  });
}

void random_bernoulli(int64_t seed, int64_t stream, int64_t step, int64_t first_sample,
                      const View& seeds, const View& samples, double p, View& y) {
  const Source source =
      make_source("random_bernoulli", seed, stream, step, first_sample, seeds, samples, y);
  const float threshold = static_cast<float>(p);
  dispatch_all(y.dtype, [&]<class T>() {
    for_batches(
        source, y, words_per_batch, [&](const uint32_t* words, int64_t element, int64_t count) {
          for (int64_t i = 0; i < count; ++i)
            y.as<T>()[element + i] = convert<T>(philox_uniform(words[i]) < threshold ? 1.0f : 0.0f);
        });
  });
}

void dropout(int64_t seed, int64_t stream, int64_t step, double p, const View& x, View& y) {
  const Source source = make_source("dropout", seed, stream, step, 0, View(), View(), y);
  check_dropout(p, x, y);
  dispatch_floating(y.dtype, "dropout", [&]<class T>() {
    using Acc = Accumulator<T>;
    const float threshold = static_cast<float>(p);
    const Acc scale = static_cast<Acc>(1.0 / (1.0 - p));
    for_batches(source, y, words_per_batch,
                [&](const uint32_t* words, int64_t element, int64_t count) {
                  const T* from = x.as<T>() + element;
                  T* to = y.as<T>() + element;
                  // Both outcomes are computed and one is chosen: a branch on a coin toss costs
                  // more than the product.
                  for (int64_t i = 0; i < count; ++i) {
                    const Acc kept = convert<Acc>(from[i]) * scale;
                    to[i] = convert<T>(philox_uniform(words[i]) >= threshold ? kept : Acc(0));
                  }
                });
  });
}

void random_permutation(int64_t seed, int64_t stream, int64_t step, View& y) {
  const Source source = make_source("random_permutation", seed, stream, step, 0, View(), View(), y);
  check_random_permutation(y);
  int64_t* to = y.as<int64_t>();
  const int64_t count = y.numel();
  for (int64_t i = 0; i < count; ++i) to[i] = i;
  for (int64_t i = count - 1; i > 0; --i) {
    const PhiloxBlock block = philox(source.seed_of(0), static_cast<uint32_t>(stream), 0,
                                     source.first_block() + static_cast<uint64_t>(i));
    const uint64_t word = static_cast<uint64_t>(block.word[1]) << 32 | block.word[0];
    const int64_t other = static_cast<int64_t>(
        (static_cast<unsigned __int128>(word) * static_cast<uint64_t>(i + 1)) >> 64);
    const int64_t value = to[i];
    to[i] = to[other];
    to[other] = value;
  }
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
