// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): randomness
// as a function of (seed, stream, sample, block). The same bits on every device.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace emulsion {

struct PhiloxBlock {
  uint32_t word[4];
};

// key = seed; counter = (block low, block high, sample, stream).
EMULSION_INLINE PhiloxBlock philox(uint64_t seed, uint32_t stream, uint32_t sample,
                                   uint64_t block) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32), c2 = sample,
           c3 = stream;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<uint32_t>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1): the multiples of 2^-bits, all exact in float32.
template <int bits = 24>
EMULSION_INLINE float philox_uniform(uint32_t word) {
  return static_cast<float>(word >> (32 - bits)) * (1.0f / (1 << bits));
}

// Bits of a uniform number that a dtype holds: more of them would round up to 1 at times.
template <class T>
constexpr int uniform_bits = __is_same(T, bfloat16)  ? 8
                             : __is_same(T, float16) ? 11
                                                     : 24;

}  // namespace emulsion
