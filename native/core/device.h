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
#include "core/errors.h"

namespace emulsion {

// One unit of work; a heap-allocated closure that is run once, or by every replay of a graph.
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

// What a device recorded for replay. Work in it names addresses, so the blocks behind them are its
// own, and those of graphs that it shares them with, as long as it lives.
class Graph {
 public:
  explicit Graph(CachingAllocator& allocator) : allocator_(allocator) {}
  virtual ~Graph() {
    if (pool_.use_count() == 1) allocator_.dissolve_pool(*pool_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

 protected:
  friend class Device;
  CachingAllocator& allocator_;
  std::shared_ptr<GraphPool> pool_ = std::make_shared<GraphPool>();
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

  // Whether work can be recorded for replay.
  virtual bool records() const { return false; }
  // From here to end_capture() submitted work is recorded and does not run; nothing may be read,
  // written from the host or waited for meanwhile. It uses the memory of another graph if one is
  // given: what that leaves there, the replays of either overwrite.
  void begin_capture(const Graph* sharing = nullptr) {
    if (!records()) fail(ErrorCode::unsupported, "capture: ", name(), " does not record");
    EMULSION_CHECK(!recording_, "capture: ", name(), " is recording already");
    recording_ = start_recording();
    if (sharing) recording_->pool_ = sharing->pool_;
    allocator_->open_pool(*recording_->pool_);
  }
  // Throws what went wrong while recording.
  std::unique_ptr<Graph> end_capture() {
    EMULSION_CHECK(recording_, "capture: ", name(), " is not recording");
    allocator_->close_pool();
    std::unique_ptr<Graph> graph = std::move(recording_);
    finish_recording(*graph);
    return graph;
  }
  bool capturing() const { return recording_ != nullptr; }
  // Enqueues recorded work.
  virtual void replay(Graph&) {
    fail(ErrorCode::unsupported, "replay: ", name(), " records nothing");
  }

  CachingAllocator& allocator() { return *allocator_; }

 protected:
  virtual std::unique_ptr<Graph> start_recording() { return nullptr; }
  virtual void finish_recording(Graph&) {}

  std::unique_ptr<CachingAllocator> allocator_;
  std::unique_ptr<Graph> recording_;
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

// The CUDA engine's part, where it is compiled in (EMULSION_HAS_cuda).

// The devices of the CUDA engine that this machine has; none without a driver or a GPU.
std::vector<std::unique_ptr<Device>> make_cuda_devices();

// What the CUDA engine was built for and what it finds here.
struct CudaInfo {
  struct Gpu {
    std::string name;
    int capability;  // 10 * major + minor
    int64_t memory;
    std::string reason;  // why it is not used; empty: it is
  };
  std::string architectures;  // compiled in, as in "80,90a"
  int runtime;                // version of the CUDA runtime: 1000 * major + 10 * minor
  int driver;                 // the newest that the driver supports, 0 without a driver
  std::string reason;         // why no GPU can be asked; empty: they can
  std::vector<Gpu> gpus;
};
CudaInfo cuda_info();

}  // namespace emulsion
