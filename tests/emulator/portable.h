// What every GPU since sm_80 offers: the emulated device has that and no more.
#pragma once

namespace emulsion::emulator {

constexpr int portable_shared_bytes = 99 << 10;
constexpr int portable_capability = 80;

}  // namespace emulsion::emulator
