#include "fiber.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#if defined(__x86_64__)
asm(R"(
.text
.globl emulsion_switch_fiber
.hidden emulsion_switch_fiber
.type emulsion_switch_fiber,@function
emulsion_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulsion_switch_fiber,.-emulsion_switch_fiber
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl emulsion_switch_fiber
.hidden emulsion_switch_fiber
.type emulsion_switch_fiber,@function
emulsion_switch_fiber:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emulsion_switch_fiber,.-emulsion_switch_fiber
)");
#else
#error "the emulator switches fibers on x86-64 and arm64"
#endif

namespace emulsion::emulator {
namespace {

constexpr size_t page = 4096;
// Stack tops are spread over cache sets: equal addresses modulo 4 KiB would evict each other.
constexpr int colours = 15;
constexpr size_t colour_bytes = 256;
// One more than there are, of which a part comes before the first multiple.
constexpr size_t reserved_bytes = StackPool::stack_bytes * (StackPool::most + 1);

}  // namespace

StackPool::StackPool() {
  void* block = mmap(nullptr, reserved_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
  block_ = static_cast<char*>(block);
  base_ = block_ + (stack_bytes - reinterpret_cast<uintptr_t>(block) % stack_bytes) % stack_bytes;
  for (int i = 0; i < most; ++i) mprotect(base_ + i * stack_bytes, page, PROT_NONE);
}

StackPool::~StackPool() { munmap(block_, reserved_bytes); }

void* StackPool::prepare(int number, void (*entry)()) const {
  char* top = base_ + (number + 1) * stack_bytes - (number % colours) * colour_bytes;
#if defined(__x86_64__)
  // As if entry had been called: its return address' place at 16n + 8, six saved registers below.
  void** frame = reinterpret_cast<void**>(top - 16);
  frame[0] = reinterpret_cast<void*>(entry);
  frame[1] = nullptr;
  frame -= 6;
  std::memset(frame, 0, 6 * sizeof(void*));
  return frame;
#else
  char* frame = top - 160;
  std::memset(frame, 0, 160);
  reinterpret_cast<void**>(frame + 80)[1] = reinterpret_cast<void*>(entry);  // x30
  return frame;
#endif
}

}  // namespace emulsion::emulator
