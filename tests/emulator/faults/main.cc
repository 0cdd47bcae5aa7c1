// emulator_faults                  the names of the cases
// emulator_faults NAME wrong       the report about a case, then "right after wrong: passed"
// emulator_faults NAME right       "passed", or what was reported
#include <cstdio>
#include <cstring>
#include <exception>

#include "faults.h"

using namespace emulsion::cuda;

namespace {

// Exit codes: 0 as it should be, 1 not.
bool passes(void (*body)(), const char* prefix) {
  try {
    body();
    std::printf("%spassed\n", prefix);
    return true;
  } catch (const std::exception& error) {
    std::printf("%s%s\n", prefix, error.what());
    return false;
  }
}

}  // namespace

int main(int count, char** arguments) {
  for (const auto* cases : {&bounds_cases, &race_cases, &copy_cases, &collective_cases,
                            &fragment_cases, &lifetime_cases, &hopper_cases})
    for (const Case& each : *cases) {
      if (count < 3) {
        std::printf("%s\n", each.name);
        continue;
      }
      if (std::strcmp(each.name, arguments[1])) continue;
      if (!std::strcmp(arguments[2], "right")) return passes(each.right, "") ? 0 : 1;
      if (!each.wrong) return 0;
      const bool found = !passes(each.wrong, "");
      return passes(each.right, "right after wrong: ") && found ? 0 : 1;
    }
  return count < 3 ? 0 : 2;
}
