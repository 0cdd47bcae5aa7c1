// The calls that GCC and Clang put before every load and store under -fsanitize=thread. The kernels
// are compiled with that flag and linked with these in the place of ThreadSanitizer's runtime.
#include <cstddef>

#include "block.h"

using emulsion::emulator::access;
using emulsion::emulator::in_kernel;

#define HOOK extern "C" __attribute__((visibility("hidden"))) void
#define EMULSION_HOOKS(bytes)                                                    \
  HOOK __tsan_read##bytes(void* pointer) {                                       \
    if (in_kernel()) access(pointer, bytes, false, __builtin_return_address(0)); \
  }                                                                              \
  HOOK __tsan_write##bytes(void* pointer) {                                      \
    if (in_kernel()) access(pointer, bytes, true, __builtin_return_address(0));  \
  }                                                                              \
  HOOK __tsan_unaligned_read##bytes(void* pointer) {                             \
    if (in_kernel()) access(pointer, bytes, false, __builtin_return_address(0)); \
  }                                                                              \
  HOOK __tsan_unaligned_write##bytes(void* pointer) {                            \
    if (in_kernel()) access(pointer, bytes, true, __builtin_return_address(0));  \
  }                                                                              \
  HOOK __tsan_volatile_read##bytes(void* pointer) {                              \
    if (in_kernel()) access(pointer, bytes, false, __builtin_return_address(0)); \
  }                                                                              \
  HOOK __tsan_volatile_write##bytes(void* pointer) {                             \
    if (in_kernel()) access(pointer, bytes, true, __builtin_return_address(0));  \
  }
EMULSION_HOOKS(1)
EMULSION_HOOKS(2)
EMULSION_HOOKS(4)
EMULSION_HOOKS(8)
EMULSION_HOOKS(16)

namespace {

// Copies of structs come as ranges; their elements are what alignment is about.
void access_range(const void* pointer, size_t bytes, bool write, const void* site) {
  const char* at = static_cast<const char*>(pointer);
  for (size_t step = bytes % 4 ? 1 : 4, i = 0; i < bytes; i += step)
    access(at + i, step, write, site);
}

}  // namespace

HOOK __tsan_read_range(void* pointer, size_t bytes) {
  if (in_kernel()) access_range(pointer, bytes, false, __builtin_return_address(0));
}
HOOK __tsan_write_range(void* pointer, size_t bytes) {
  if (in_kernel()) access_range(pointer, bytes, true, __builtin_return_address(0));
}
HOOK __tsan_init() {}
HOOK __tsan_func_entry(void*) {}
HOOK __tsan_func_exit() {}
HOOK __tsan_vptr_update(void**, void*) {}
HOOK __tsan_vptr_read(void**) {}

// Reference counts of the standard library's host code.
extern "C" __attribute__((visibility("hidden"))) int __tsan_atomic32_fetch_add(volatile int* at,
                                                                               int value, int) {
  return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
