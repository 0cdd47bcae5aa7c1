// A device is a queue: work is submitted in program order and runs in that order; nothing waits
// until a value is read. The thread that submits also owns the allocator.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "core/allocator.h"

namespace emulsion {

// One unit of work; a heap-allocated closure that is run once.
class Task {
 public:
  Task() = default;
  template <class Body>
  explicit Task(Body&& body) : body_(new Holder<std::decay_t<Body>>(std::forward<Body>(body))) {}
  void operator()() { body_->run(); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual void run() = 0;
  };
  template <class Body>
  struct Holder : Base {
    explicit Holder(Body body) : body(std::move(body)) {}
    void run() override { body(); }
    Body body;
  };
  std::unique_ptr<Base> body_;
};

// Whose kernels a device runs.
enum class Engine { cpu, cuda };

class Device {
 public:
  // Told when a read has arrived: with the device's first fault until then, if there was one.
  using Done = std::function<void(std::unique_ptr<std::exception_ptr>)>;

  virtual ~Device() = default;

  virtual const std::string& name() const = 0;
  virtual Engine engine() const = 0;
  // Enqueues work. An exception it throws is kept and rethrown by the next take_fault(). Blocks
  // only when the queue is full. With EMULSION_SYNC=1 the work runs here and throws here.
  virtual void submit(const char* op, Task task) = 0;
  // Waits until everything submitted so far has run.
  virtual void wait() = 0;
  virtual bool idle() const = 0;
  // Throws the first fault since the last call, if there was one.
  virtual void take_fault() = 0;
  // The first fault without a throw.
  virtual std::unique_ptr<std::exception_ptr> steal_fault() = 0;

  // Copies from host memory into a block, in queue order; `from` may change right after.
  virtual void write(void* to, const void* from, size_t bytes) = 0;
  // Waits for everything submitted so far, throws its fault, copies.
  virtual void read(void* to, const void* from, size_t bytes) = 0;
  // Copies once everything submitted so far has run, then calls `done` on another thread. After a
  // fault `to` may be left as it is.
  virtual void read_then(void* to, const void* from, size_t bytes, Done done) = 0;
  // Copies into a block in queue order, once `ready` has come; an exception it brings becomes this
  // device's fault. `from` is kept until then.
  virtual void write_when(std::shared_future<void> ready, void* to, std::shared_ptr<void> from,
                          size_t bytes) = 0;
  // Host memory that this device transfers fastest.
  virtual std::shared_ptr<void> staging(size_t bytes) = 0;

  CachingAllocator& allocator() { return *allocator_; }

 protected:
  std::unique_ptr<CachingAllocator> allocator_;
};

// Copies a block to another device, in the order of both queues. Neither waits here.
void transfer(Device& source, const void* from, Device& target, void* to, size_t bytes);

// Whether operations run at their call, for debugging: EMULSION_SYNC=1.
inline bool runs_synchronously() {
  const char* value = std::getenv("EMULSION_SYNC");
  return value && *value && std::string(value) != "0";
}

// The host as a device: one in-order queue thread that drives the pool of cpu/parallel.h.
std::unique_ptr<Device> make_cpu_device();

#if defined(EMULSION_HAS_cuda)
// The devices of the CUDA engine that this machine has; none without a driver or a GPU.
std::vector<std::unique_ptr<Device>> make_cuda_devices();
#endif

}  // namespace emulsion
