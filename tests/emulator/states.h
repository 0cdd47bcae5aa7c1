// The states of a byte of device memory, and helpers of both memories.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emulsion::emulator {

// `arriving`: an asynchronous copy is on its way there.
enum State : uint8_t { outside = 0, unwritten = 1, written = 2, arriving = 3 };

constexpr size_t red_zone = 256;
constexpr int poison_byte = 0xff;  // a NaN in every float type

inline size_t rounded(size_t bytes, size_t to = red_zone) { return (bytes + to - 1) / to * to; }

// Address space that no memory backs before it is used.
void* reserve(size_t bytes);

// Whether 1, 2, 4, 8 or 16 bytes have all been written.
inline bool all_written(const State* states, size_t bytes) {
  constexpr uint64_t ones = 0x0101010101010101ull;
  uint64_t first = 0, second = ones * written;
  switch (bytes) {
    case 16: std::memcpy(&second, states + 8, 8); [[fallthrough]];
    case 8: std::memcpy(&first, states, 8); break;
    default: first = ones * written; std::memcpy(&first, states, bytes);
  }
  return first == ones * written && second == ones * written;
}

}  // namespace emulsion::emulator
