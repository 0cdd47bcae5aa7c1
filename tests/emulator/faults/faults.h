// Kernels that are wrong in exactly one way, each beside a twin that does the same right.
#pragma once

#include <cstring>
#include <initializer_list>
#include <vector>

#include "../memory.h"
#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {

struct Case {
  const char* name;
  void (*wrong)();
  void (*right)();
};

// The tables of the files of this folder.
extern const std::vector<Case> bounds_cases, race_cases, copy_cases, collective_cases,
    fragment_cases, lifetime_cases, hopper_cases;

// Device memory for a case.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count)
      : bytes_(count * sizeof(T)),
        data_(static_cast<T*>(emulator::global_memory().acquire(bytes_))) {}
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    emulator::global_memory().write_from_host(data_, values.data(), bytes_);
  }
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  operator T*() const { return data_; }
  void release() {
    if (data_) emulator::global_memory().release(data_, bytes_);
    data_ = nullptr;
  }
  std::vector<T> values() const {
    std::vector<T> copy(bytes_ / sizeof(T));
    std::memcpy(copy.data(), data_, bytes_);
    return copy;
  }

 private:
  size_t bytes_;
  T* data_;
};

// Values without structure, so that a misplaced one shows.
template <class T = float>
inline std::vector<T> numbers(size_t count) {
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = convert<T>(static_cast<float>(static_cast<int>(i * 37 % 61) - 30) / 8);
  return values;
}

}  // namespace emulsion::cuda
