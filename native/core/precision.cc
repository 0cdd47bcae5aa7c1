#include "core/precision.h"

#include <atomic>

namespace emulsion {
namespace {
std::atomic<bool> allowed_now{false};
}

bool tf32_allowed() { return allowed_now.load(std::memory_order_relaxed); }
void allow_tf32(bool allowed) { allowed_now.store(allowed, std::memory_order_relaxed); }

}  // namespace emulsion
