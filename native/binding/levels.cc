#include "binding/levels.h"

#include <cstdlib>
#include <string>

#include "core/errors.h"

namespace emulsion::binding {
namespace {

bool runs_here(Level level) {
  switch (level) {
    case Level::baseline:
    case Level::neon: return true;
#if defined(__x86_64__)
    case Level::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Level::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    default: return false;
  }
}

}  // namespace

const char* level_name(Level level) {
  switch (level) {
    case Level::baseline: return "baseline";
    case Level::avx2: return "avx2";
    case Level::avx512: return "avx512";
    case Level::neon: return "neon";
  }
  return "?";
}

std::vector<Level> compiled_levels() {
  std::vector<Level> levels;
#if defined(EMULSION_HAS_baseline)
  levels.push_back(Level::baseline);
#endif
#if defined(EMULSION_HAS_neon)
  levels.push_back(Level::neon);
#endif
#if defined(EMULSION_HAS_avx2)
  levels.push_back(Level::avx2);
#endif
#if defined(EMULSION_HAS_avx512)
  levels.push_back(Level::avx512);
#endif
  return levels;
}

Level active_level() {
  const std::vector<Level> levels = compiled_levels();
  std::string names;
  for (Level level : levels) names += std::string(names.empty() ? "" : ", ") + level_name(level);
  if (const char* wanted = std::getenv("EMULSION_CPU_LEVEL"); wanted && *wanted) {
    for (Level level : levels)
      if (std::string(wanted) == level_name(level) && runs_here(level)) return level;
    fail(ErrorCode::unsupported, "EMULSION_CPU_LEVEL=", wanted,
         " is not compiled in or not supported by this ", "processor; compiled in: ", names);
  }
  for (size_t i = levels.size(); i-- > 0;)
    if (runs_here(levels[i])) return levels[i];
  fail(ErrorCode::unsupported,
       "this processor runs none of the compiled instruction-set levels: ", names);
}

}  // namespace emulsion::binding
