// What the emulated device offers. By default what every GPU since sm_80 has and no more, so that
// kernels are proven for all of them; EMULSION_EMULATOR_CAPABILITY=90 makes it a Hopper.
#pragma once

#include <cstdlib>
#include <cstring>

namespace emulsion::emulator {

inline int capability() {
  static const int chosen = [] {
    const char* wanted = std::getenv("EMULSION_EMULATOR_CAPABILITY");
    return wanted && std::strcmp(wanted, "90") == 0 ? 90 : 80;
  }();
  return chosen;
}

// Shared memory that a block may have.
inline int shared_bytes() { return (capability() == 90 ? 227 : 99) << 10; }

// As the list of devices tells it.
inline const int portable_capability = capability();

}  // namespace emulsion::emulator
