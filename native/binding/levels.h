// Which instruction-set levels were compiled in, and which of them this machine runs.
#pragma once

#include <string>
#include <vector>

namespace emulsion::binding {

enum class Level { baseline, avx2, avx512, neon };

const char* level_name(Level level);
// Levels compiled in, lowest first.
std::vector<Level> compiled_levels();
// The highest usable level, or the one EMULSION_CPU_LEVEL names. Throws if that one cannot run
// here.
Level active_level();

}  // namespace emulsion::binding
