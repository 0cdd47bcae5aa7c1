// A device is a queue: work is submitted in program order and runs in that order; nothing waits
// until a value is read. The thread that submits also owns the allocator.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

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

class Device {
 public:
  virtual ~Device() = default;

  virtual const std::string& name() const = 0;
  // Enqueues work. An exception it throws is kept and rethrown by the next take_fault(). Blocks
  // only when the queue is full. With EMULSION_SYNC=1 the work runs here and throws here.
  virtual void submit(const char* op, Task task) = 0;
  // Waits until everything submitted so far has run.
  virtual void wait() = 0;
  virtual bool idle() const = 0;
  // Throws the first fault since the last call, if there was one.
  virtual void take_fault() = 0;
  // The first fault as text without a throw: what an asynchronous read reports.
  virtual std::unique_ptr<std::exception_ptr> steal_fault() = 0;

  // Copies between host memory and a block, in queue order.
  virtual void write(void* to, const void* from, size_t bytes) = 0;
  virtual void read(void* to, const void* from, size_t bytes) = 0;  // to be called from a task

  CachingAllocator& allocator() { return *allocator_; }

 protected:
  std::unique_ptr<CachingAllocator> allocator_;
};

// The host as a device: one in-order queue thread that drives the pool of cpu/parallel.h.
std::unique_ptr<Device> make_cpu_device();

}  // namespace emulsion
