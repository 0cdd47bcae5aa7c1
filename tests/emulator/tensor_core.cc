// ldmatrix and mma.sync, by the layouts of the PTX ISA ("Warp Level Matrix Instructions").
#include <cstring>

#include "core/dtype.h"
#include "machine.h"

namespace emulsion::emulator {
namespace {

struct Load {
  uint32_t* registers;
  const void* row;
  int count;
  bool trans;
};

void load(void** lanes, uint32_t, const void* site) {
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

template <int depth>
void accumulate(void** lanes, const float (&a)[16][depth], const float (&b)[depth][8]) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      double sum = 0;
      for (int k = 0; k < depth; ++k) sum += static_cast<double>(a[row][k]) * b[k][column];
      float& c = static_cast<Multiply*>(lanes[lane])->c[i];
      c = static_cast<float>(c + sum);
    }
}

float half_of(uint32_t pair, bool high, bool bfloat) {
  const auto bits = static_cast<uint16_t>(high ? pair >> 16 : pair);
  return bfloat ? to_float(bfloat16{bits}) : to_float(float16{bits});
}

void multiply_16(void** lanes, uint32_t, const void*) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* own = static_cast<Multiply*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i)
        a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = half_of(own->a[i], half, own->bfloat);
      for (int i = 0; i < 2; ++i)
        b[2 * t + 8 * i + half][g] = half_of(own->b[i], half, own->bfloat);
    }
  }
  accumulate<16>(lanes, a, b);
}

float tf32_of(uint32_t bits) {  // the hardware does not look at the low 13 bits
  bits &= 0xffffe000u;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

void multiply_8(void** lanes, uint32_t, const void*) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* own = static_cast<Multiply*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) a[g + 8 * (i % 2)][t + 4 * (i / 2)] = tf32_of(own->a[i]);
    for (int i = 0; i < 2; ++i) b[t + 4 * i][g] = tf32_of(own->b[i]);
  }
  accumulate<8>(lanes, a, b);
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
