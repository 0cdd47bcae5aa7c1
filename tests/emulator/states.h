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
  const auto are = [&]<class Word>(Word) {
    Word word;
    std::memcpy(&word, states, sizeof word);
    return word == static_cast<Word>(0x0101010101010101ull * written);
  };
  switch (bytes) {
    case 1: return *states == written;
    case 2: return are(uint16_t{});
    case 4: return are(uint32_t{});
    case 8: return are(uint64_t{});
    default:
      uint64_t words[2];
      std::memcpy(words, states, 16);
      return words[0] == words[1] && words[0] == 0x0101010101010101ull * written;
  }
}

}  // namespace emulsion::emulator
