#pragma once

#include <vector>

#include "binding/convert.h"
#include "binding/levels.h"

namespace emulsion::binding {

// Every kernel of the engine, with its body for the given level. Lives as long as the process.
const std::vector<Kernel>& kernels(Level level);

}  // namespace emulsion::binding
