// The vector types of CUDA's headers.
#pragma once

#define EMULSION_VECTOR_TYPES(type, name, align)    \
  struct name##1 { type x; };                       \
  struct alignas(2 * align) name##2 { type x, y; }; \
  struct name##3 { type x, y, z; };                 \
  struct alignas(4 * align > 16 ? 16 : 4 * align) name##4 { type x, y, z, w; };
EMULSION_VECTOR_TYPES(int, int, 4)
EMULSION_VECTOR_TYPES(unsigned, uint, 4)
EMULSION_VECTOR_TYPES(float, float, 4)
#undef EMULSION_VECTOR_TYPES

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
