// ldmatrix and mma.sync, by the layouts of the PTX ISA ("Warp Level Matrix Instructions").
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace emulsion::emulator {
namespace {

struct Load {
  uint32_t* registers;
  const void* row;
  int count;
  bool trans;
};

// Rows of one matrix are read together: those in the same 16 bytes of the 128 that banks give at a
// time wait for each other.
void count_conflicts(void** lanes, int matrix, const void* site) {
  int slots[8] = {}, worst = 0;
  for (int i = 0; i < 8; ++i) {
    const void* row = static_cast<Load*>(lanes[8 * matrix + i])->row;
    bool again = false;
    for (int j = 0; j < i; ++j) again |= static_cast<Load*>(lanes[8 * matrix + j])->row == row;
    if (!again) worst = std::max(worst, ++slots[machine->shared.offset(row) / 16 % 8]);
  }
  Conflicts& seen = machine->block.conflicts;
  if (worst > seen.worst) seen = {worst, site};
}

void load(void** lanes, uint32_t, const void* site) {
  static const bool lint = std::getenv("EMULSION_EMULATOR_LINT") != nullptr;
  const auto of = [&](int lane) { return static_cast<Load*>(lanes[lane]); };
  const int count = of(0)->count;
  const bool trans = of(0)->trans;
  for (int j = 0; j < count; ++j) {
    uint16_t matrix[8][8];
    for (int i = 0; i < 8; ++i) {
      const void* row = of(8 * j + i)->row;
      access_as_lane(8 * j + i, row, 16, site);
      std::memcpy(matrix[i], row, 16);
    }
    if (lint) count_conflicts(lanes, j, site);
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const uint16_t low = trans ? matrix[2 * t][g] : matrix[g][2 * t];
      const uint16_t high = trans ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      of(lane)->registers[j] = static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 16;
    }
  }
}

struct Multiply {
  float* c;
  const uint32_t* a;
  uint32_t b[2];
  bool bfloat;
};

#if defined(__x86_64__)
#define EMULSION_CLONES __attribute__((target_clones("arch=haswell", "default")))
#else
#define EMULSION_CLONES
#endif

using Row = float __attribute__((vector_size(32)));

// sums = a times b; the caller's lanes add them to what they have.
template <int depth>
inline void multiply(const float (&a)[16][depth], const Row (&b)[depth], Row (&sums)[16]) {
  for (int i = 0; i < 16; ++i) {
    Row sum = {};
    for (int k = 0; k < depth; ++k) sum += a[i][k] * b[k];
    sums[i] = sum;
  }
}

EMULSION_CLONES void multiply_halves(const uint16_t (&a)[16][16], const uint16_t (&b)[16][8],
                                     bool bfloat, Row (&sums)[16]) {
  float wide_a[16][16];
  Row wide_b[16];
  const auto widen = [&](const uint16_t* from, float* to, int count) {
    if (bfloat) {
      for (int i = 0; i < count; ++i) {
        const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
        std::memcpy(to + i, &bits, 4);
      }
      return;
    }
    for (int i = 0; i < count; ++i) {
      // The exponent's bias by a multiplication, which subnormal numbers survive; infinity and NaN
      // keep theirs.
      uint32_t bits = (from[i] & 0x7fffu) << 13;
      float value;
      std::memcpy(&value, &bits, 4);
      value *= 0x1p112f;
      std::memcpy(&bits, &value, 4);
      bits |= (from[i] & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
      bits |= (from[i] & 0x8000u) << 16;
      std::memcpy(to + i, &bits, 4);
    }
  };
  widen(a[0], wide_a[0], 16 * 16);
  widen(b[0], reinterpret_cast<float*>(wide_b), 16 * 8);
  multiply(wide_a, wide_b, sums);
}

EMULSION_CLONES void multiply_floats(const float (&a)[16][8], const Row (&b)[8], Row (&sums)[16]) {
  multiply(a, b, sums);
}

void add_to_lanes(void** lanes, const Row (&sums)[16]) {
  for (int lane = 0; lane < 32; ++lane) {
    float* c = static_cast<Multiply*>(lanes[lane])->c;
    const int g = lane / 4, t = 2 * (lane % 4);
    c[0] += sums[g][t];
    c[1] += sums[g][t + 1];
    c[2] += sums[g + 8][t];
    c[3] += sums[g + 8][t + 1];
  }
}

void multiply_16(void** lanes, uint32_t, const void*) {
  uint16_t a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* own = static_cast<Multiply*>(lanes[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    std::memcpy(&a[g][t], own->a, 4);
    std::memcpy(&a[g + 8][t], own->a + 1, 4);
    std::memcpy(&a[g][t + 8], own->a + 2, 4);
    std::memcpy(&a[g + 8][t + 8], own->a + 3, 4);
    for (int i = 0; i < 2; ++i) {
      b[t + 8 * i][g] = static_cast<uint16_t>(own->b[i]);
      b[t + 8 * i + 1][g] = static_cast<uint16_t>(own->b[i] >> 16);
    }
  }
  Row sums[16];
  multiply_halves(a, b, static_cast<Multiply*>(lanes[0])->bfloat, sums);
  add_to_lanes(lanes, sums);
}

float tf32_of(uint32_t bits) {  // the hardware does not look at the low 13 bits
  bits &= 0xffffe000u;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

void multiply_8(void** lanes, uint32_t, const void*) {
  float a[16][8];
  Row b[8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* own = static_cast<Multiply*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) a[g + 8 * (i % 2)][t + 4 * (i / 2)] = tf32_of(own->a[i]);
    for (int i = 0; i < 2; ++i) b[t + 4 * i][g] = tf32_of(own->b[i]);
  }
  Row sums[16];
  multiply_floats(a, b, sums);
  add_to_lanes(lanes, sums);
}

}  // namespace

void load_matrices(uint32_t* registers, int count, const void* row, bool trans, const void* site) {
  Load mine{registers, row, count, trans};
  meet(all_lanes, &mine, load, site);
}

void multiply_16bit(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, bool bfloat,
                    const void* site) {
  Multiply mine{c, a, {b0, b1}, bfloat};
  meet(all_lanes, &mine, multiply_16, site);
}

void multiply_tf32(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, const void* site) {
  Multiply mine{c, a, {b0, b1}, false};
  meet(all_lanes, &mine, multiply_8, site);
}

void copy_raw(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

}  // namespace emulsion::emulator
