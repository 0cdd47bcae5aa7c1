// The device named `emulated`: the queue of a host device, the arena of memory.h, and the host side
// of native/cuda/host.h on top of them.
#include "core/queue_device.h"
#include "cuda/host.h"
#include "memory.h"
#include "portable.h"

namespace emulsion::emulator {
namespace {

class ArenaMemory final : public HostMemory {
 public:
  void* acquire(size_t bytes) override { return global_memory().acquire(bytes); }
  void release(void* block, size_t bytes) override { global_memory().release(block, bytes); }
  void write(void* to, const void* from, size_t bytes) override {
    global_memory().write_from_host(to, from, bytes);
  }
  void read(void* to, const void* from, size_t bytes) override {
    global_memory().read_to_host(to, from, bytes);
  }
};

}  // namespace
}  // namespace emulsion::emulator

namespace emulsion::cuda {

const Limits& limits() {
  static const Limits chosen{4, emulator::shared_bytes(), emulator::capability()};
  return chosen;
}

bool hopper_level() {
  static const bool wanted = !portable_kernels_wanted();
  return wanted && limits().capability == 90;
}

Fault* fault_slot() {
  struct Slot {
    Fault* fault = static_cast<Fault*>(emulator::global_memory().acquire(sizeof(Fault)));
    Slot() {
      const Fault none{};
      emulator::global_memory().write_from_host(fault, &none, sizeof(Fault));
    }
    ~Slot() { emulator::global_memory().release(fault, sizeof(Fault)); }
  };
  thread_local const Slot slot;
  return slot.fault;
}

void raise_fault() {
  Fault* slot = fault_slot();
  if (!slot->op) return;
  const Fault found = *slot;
  *slot = Fault{};
  throw describe(found);
}

Workspace::Workspace(int64_t bytes)
    : block_(emulator::global_memory().acquire(static_cast<size_t>(bytes))),
      bytes_(static_cast<size_t>(bytes)) {
  if (!block_) fail(ErrorCode::out_of_memory, "out of memory: asked for ", bytes, " bytes");
}

Workspace::~Workspace() { emulator::global_memory().release(block_, bytes_); }

}  // namespace emulsion::cuda

namespace emulsion {

CudaInfo cuda_info() {
  const auto bytes = int64_t{1} << 30;
  return {"emulated", 0, 0, "", {{"emulated", emulator::capability(), bytes, ""}}};
}

std::vector<std::unique_ptr<Device>> make_cuda_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  devices.push_back(make_queue_device("emulated", Engine::cuda,
                                      std::make_unique<emulator::ArenaMemory>(), Reuse::none));
  return devices;
}

}  // namespace emulsion
