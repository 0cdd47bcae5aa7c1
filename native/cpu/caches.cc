#include "cpu/caches.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "core/errors.h"

namespace emulsion::cpu {
namespace {

// What nothing is known of counts as the machine that kernels were tuned on.
constexpr Caches assumed = {int64_t{1} << 20, int64_t{32} << 20};
// Plans go no further: larger caches were not at hand, and virtual machines are told of more than
// they have.
constexpr Caches least = {int64_t{128} << 10, int64_t{512} << 10};
constexpr Caches most = {int64_t{4} << 20, int64_t{64} << 20};

#if defined(__linux__)

std::string line_of(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

// "0-3,8": how many.
int64_t count_cpus(const std::string& list) {
  std::istringstream ranges(list);
  int64_t count = 0;
  for (std::string range; std::getline(ranges, range, ',');) {
    const size_t dash = range.find('-');
    const int64_t first = std::atoll(range.c_str());
    count += dash == std::string::npos ? 1 : std::atoll(range.c_str() + dash + 1) - first + 1;
  }
  return std::max<int64_t>(count, 1);
}

// "1024K" or "32M".
int64_t parse_size(const std::string& text) {
  const int64_t unit = text.ends_with('K') ? 1 << 10 : text.ends_with('M') ? 1 << 20 : 1;
  return std::atoll(text.c_str()) * unit;
}

Caches system_caches() {
  Caches found = {};
  int64_t last_level = 0;
  for (int index = 0;; ++index) {
    const std::string cache =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const int64_t level = std::atoll(line_of(cache + "level").c_str());
    if (level == 0) return found;
    const int64_t bytes = parse_size(line_of(cache + "size"));
    if (bytes <= 0 || line_of(cache + "type") == "Instruction") continue;
    if (level == 2) found.core = bytes / count_cpus(line_of(cache + "shared_cpu_list"));
    if (level >= last_level) last_level = level, found.last = bytes;
  }
}

#elif defined(__APPLE__)

int64_t system_value(const char* name) {
  int64_t value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

Caches system_caches() {
  const int64_t second = system_value("hw.perflevel0.l2cachesize");
  const int64_t sharing = std::max<int64_t>(system_value("hw.perflevel0.cpusperl2"), 1);
  return {second / sharing, std::max(second, system_value("hw.l3cachesize"))};
}

#else

Caches system_caches() { return {}; }

#endif

Caches forced_caches(const char* text) {
  std::istringstream numbers(text);
  int64_t core = 0, last = 0;
  char comma = 0, rest = 0;
  if (!(numbers >> core >> comma >> last) || comma != ',' || numbers >> rest || core <= 0 ||
      last < core || last > int64_t{1} << 40)
    fail(ErrorCode::invalid_argument, "EMULSION_CPU_CACHES=", text,
         " is not two sizes in KiB, a core's own cache and the last one, such as 1024,32768");
  return {core << 10, last << 10};
}

Caches find_caches() {
  const char* text = std::getenv("EMULSION_CPU_CACHES");
  const Caches found = text && *text ? forced_caches(text) : system_caches();
  const int64_t core = found.core > 0 ? found.core : assumed.core;
  const int64_t last = found.last > 0 ? found.last : assumed.last;
  return {std::clamp(core, least.core, most.core), std::clamp(last, least.last, most.last)};
}

}  // namespace

const Caches& caches() {
  static const Caches found = find_caches();
  return found;
}

}  // namespace emulsion::cpu
