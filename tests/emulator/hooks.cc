// The calls that GCC and Clang put before every load and store under -fsanitize=thread. The kernels
// are compiled with that flag and linked with these in the place of ThreadSanitizer's runtime.
#include <cstddef>

#include "machine.h"

using emulsion::emulator::access;
using emulsion::emulator::current;
using emulsion::emulator::Kind;

namespace {

// Most accesses are to local arrays of the thread itself, whose stack begins at a multiple of its
// size. (So may the host's: its code is compiled with the same hooks, and no kernel runs there.)
inline bool is_local(const void* pointer) {
  const char here = 0;
  return (reinterpret_cast<uintptr_t>(pointer) ^ reinterpret_cast<uintptr_t>(&here)) <
         emulsion::emulator::StackPool::stack_bytes;
}

// A function of its own, so that hooks that return at once save no registers for it.
template <size_t bytes, Kind kind>
[[gnu::noinline]] void check(const void* pointer, const void* site) {
  access<bytes>(pointer, kind, site);
}

// Copies of structs come as ranges; their elements are what alignment is about.
void access_range(const void* pointer, size_t bytes, Kind kind, const void* site) {
  const char* at = static_cast<const char*>(pointer);
  for (size_t step = bytes % 4 ? 1 : 4, i = 0; i < bytes; i += step)
    access(at + i, step, kind, site);
}

}  // namespace

#define EMULSION_HOOK(name, bytes, kind)                                               \
  extern "C" __attribute__((visibility("hidden"))) void __tsan_##name(void* pointer) { \
    if (is_local(pointer) || !current) return;                                         \
    check<bytes, kind>(pointer, __builtin_return_address(0));                          \
  }
#define EMULSION_HOOKS(bytes)                               \
  EMULSION_HOOK(read##bytes, bytes, Kind::read)             \
  EMULSION_HOOK(write##bytes, bytes, Kind::write)           \
  EMULSION_HOOK(unaligned_read##bytes, bytes, Kind::read)   \
  EMULSION_HOOK(unaligned_write##bytes, bytes, Kind::write) \
  EMULSION_HOOK(volatile_read##bytes, bytes, Kind::read)    \
  EMULSION_HOOK(volatile_write##bytes, bytes, Kind::write)
EMULSION_HOOKS(1)
EMULSION_HOOKS(2)
EMULSION_HOOKS(4)
EMULSION_HOOKS(8)
EMULSION_HOOKS(16)

#define HOOK extern "C" __attribute__((visibility("hidden"))) void
HOOK __tsan_read_range(void* pointer, size_t bytes) {
  if (is_local(pointer) || !current) return;
  access_range(pointer, bytes, Kind::read, __builtin_return_address(0));
}
HOOK __tsan_write_range(void* pointer, size_t bytes) {
  if (is_local(pointer) || !current) return;
  access_range(pointer, bytes, Kind::write, __builtin_return_address(0));
}
HOOK __tsan_init() {}
HOOK __tsan_func_entry(void*) {}
HOOK __tsan_func_exit() {}
HOOK __tsan_vptr_update(void**, void*) {}
HOOK __tsan_vptr_read(void**) {}

// Under -fsanitize=alignment, before an access through a pointer that its type does not allow: most
// accesses are of parts of a vector, whose own alignment says nothing.
struct Mismatch {
  struct {
    const char* file;
    uint32_t line, column;
  } place;
  const void* type;
  unsigned char log_alignment, kind;
};
HOOK __ubsan_handle_type_mismatch_v1(const Mismatch* data, void* pointer) {
  if (!current) return;
  emulsion::emulator::stop({"misaligned"}, pointer, size_t{1} << data->log_alignment,
                           __builtin_return_address(0));
}

// Reference counts of the standard library's host code.
extern "C" __attribute__((visibility("hidden"))) int __tsan_atomic32_fetch_add(volatile int* at,
                                                                               int value, int) {
  return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
