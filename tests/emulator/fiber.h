// Fibers: one stack per CUDA thread and a switch between them that saves what the calling
// convention asks for and nothing else (about 10 ns; ucontext's signal mask costs thirty times
// that).
#pragma once

#include <cstddef>
#include <cstdint>

// Saves the registers on the current stack, its pointer in *from, and continues at `to`.
extern "C" void emulsion_switch_fiber(void** from, void* to);

namespace emulsion::emulator {

// Stacks that no memory backs before they are used, each at a multiple of its size and with a guard
// page below.
class StackPool {
 public:
  static constexpr size_t stack_bytes = size_t{128} << 10;
  static constexpr int most = 1024;  // threads of a block

  StackPool();
  ~StackPool();

  // A fiber that runs entry() from the start and never returns from it.
  void* prepare(int number, void (*entry)()) const;
  bool contains(const void* pointer) const {
    return static_cast<size_t>(static_cast<const char*>(pointer) - base_) < stack_bytes * most;
  }

 private:
  char *block_, *base_;
};

}  // namespace emulsion::emulator
