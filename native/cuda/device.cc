// A GPU as a device: its stream is the queue. Operations are enqueued by the thread that submits;
// reads arrive through a thread of their own, which sleeps on events, so that no JavaScript thread
// ever waits for the GPU.
#include <cuda_runtime.h>

#include <condition_variable>
#include <cstring>
#include <thread>
#include <unordered_set>
#include <vector>

#include "core/faults.h"
#include "cuda/host.h"
#include "cuda/machine.h"
#include "cuda/staging.h"

namespace emulsion::cuda {
namespace {

// Dynamic shared memory that no kernel has to ask for: 48 KB, less what it declares itself and what
// the driver keeps.
constexpr size_t default_shared_bytes = 32 << 10;

struct CudaGraph final : Graph {
  using Graph::Graph;
  // One that still runs is freed when it has run.
  ~CudaGraph() override {
    if (executable) cudaGraphExecDestroy(executable);
  }
  cudaGraphExec_t executable = nullptr;
};

class CudaDevice;
thread_local CudaDevice* running = nullptr;

class CudaDevice final : public Device, private MemorySource {
 public:
  CudaDevice(int index, const cudaDeviceProp& properties)
      : name_("cuda:" + std::to_string(index)),
        index_(index),
        limits_{properties.multiProcessorCount,
                static_cast<int64_t>(properties.sharedMemPerBlockOptin),
                10 * properties.major + properties.minor},
        synchronous_(runs_synchronously()) {
    allocator_.reset(new CachingAllocator(*this));
  }

  ~CudaDevice() override {
    recording_.reset();
    if (stream_) {
      {
        std::lock_guard lock(mutex_);
        stopping_ = true;
      }
      work_.notify_one();
      waiter_.join();
      cudaSetDevice(index_);
      cudaStreamSynchronize(stream_);
      staging_.clear();
      cudaFree(fault_);
    }
    allocator_.reset();
    if (stream_) cudaStreamDestroy(stream_);
  }

  const std::string& name() const override { return name_; }
  Engine engine() const override { return Engine::cuda; }

  void submit(const char* op, Task task) override {
    open();
    running = this;
    faults_.run(op, task, synchronous_);
    running = nullptr;
    if (synchronous_) {
      wait();
      take_fault();
    }
  }

  void wait() override {
    if (!stream_) return;
    activate();
    Fault* found = static_cast<Fault*>(staging_.take(sizeof(Fault)));
    take_slot(found);
    const cudaError_t error = cudaStreamSynchronize(stream_);
    if (auto fault = reported(error, *found)) faults_.keep(*fault);
    staging_.give(found, sizeof(Fault));
  }

  bool idle() const override { return !stream_ || cudaStreamQuery(stream_) == cudaSuccess; }

  void take_fault() override {
    if (auto fault = steal_fault()) std::rethrow_exception(*fault);
  }
  std::unique_ptr<std::exception_ptr> steal_fault() override {
    auto fault = faults_.steal();
    return fault ? std::move(fault) : late_.steal();
  }

  void write(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    open();
    void* staged = staging_.take(bytes);
    std::memcpy(staged, from, bytes);
    check(cudaMemcpyAsync(to, staged, bytes, cudaMemcpyHostToDevice, stream_), "upload");
    enqueue({nullptr, staged, nullptr, bytes, nullptr, nullptr, {}, {}});
  }

  void write_when(std::shared_future<void> ready, void* to, std::shared_ptr<void> from,
                  size_t bytes) override {
    open();
    struct Gate {
      std::shared_future<void> ready;
      Faults& faults;
    };
    // Kept apart from those of operations, which are known when they are enqueued.
    const auto wait_at = [](void* data) {
      const std::unique_ptr<Gate> gate(static_cast<Gate*>(data));
      try {
        gate->ready.get();
      } catch (...) {
        gate->faults.keep(std::current_exception());
      }
    };
    check(cudaLaunchHostFunc(stream_, wait_at, new Gate{std::move(ready), late_}), "transfer");
    check(cudaMemcpyAsync(to, from.get(), bytes, cudaMemcpyHostToDevice, stream_), "transfer");
    enqueue({nullptr, nullptr, nullptr, bytes, nullptr, nullptr, {}, std::move(from)});
  }

  std::shared_ptr<void> staging(size_t bytes) override {
    open();
    return {staging_.take(bytes), [this, bytes](void* block) { staging_.give(block, bytes); }};
  }

  void read(void* to, const void* from, size_t bytes) override {
    wait();
    take_fault();
    if (bytes) check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "download");
  }

  void read_then(void* to, const void* from, size_t bytes, Done done) override {
    open();
    auto* found = static_cast<Fault*>(staging_.take(sizeof(Fault)));
    void* staged = bytes ? staging_.take(bytes) : nullptr;
    if (bytes)
      check(cudaMemcpyAsync(staged, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
    check(take_slot(found), "download");
    // What failed before this read is its own, what fails while it is under way is not.
    enqueue({nullptr, staged, to, bytes, found, faults_.steal(), std::move(done), {}});
  }

  // With EMULSION_SYNC every operation is waited for, which a recording cannot.
  bool records() const override { return !synchronous_; }

  void replay(Graph& graph) override {
    activate();
    check(cudaGraphLaunch(static_cast<CudaGraph&>(graph).executable, stream_), "replay");
  }

  // Lets a kernel have all the shared memory that a block may: the attribute is the process's, for
  // this GPU, and other threads may set it, so it is the same for every launch.
  void allow_shared(const char* op, const void* kernel) {
    if (!allowed_.insert(kernel).second) return;
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), op);
    const auto own = static_cast<int64_t>(attributes.sharedSizeBytes);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(limits_.shared_bytes - own)),
          op);
  }

  // For the operation that runs on this thread.
  cudaStream_t stream() const { return stream_; }
  const Limits& limits() const { return limits_; }
  Fault* fault() const { return fault_; }

 private:
  // A transfer that the waiting thread finishes once its event has come.
  struct Transfer {
    cudaEvent_t event;
    void* staged;
    void* to;  // nullptr for an upload
    size_t bytes;
    Fault* found;  // nullptr for an upload
    std::unique_ptr<std::exception_ptr> fault;
    Done done;
    std::shared_ptr<void> kept;  // until the event has come
  };

  void activate() { check(cudaSetDevice(index_), name_.c_str()); }

  // The driver's context costs hundreds of milliseconds: not before the first use.
  void open() {
    activate();
    if (stream_) return;
    if (!fault_) check(cudaMalloc(&fault_, sizeof(Fault)), name_.c_str());
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), name_.c_str());
    check(cudaMemsetAsync(fault_, 0, sizeof(Fault), stream_), name_.c_str());
    waiter_ = std::thread([this] { finish_transfers(); });
  }

  void enqueue(Transfer transfer) {
    check(cudaEventCreateWithFlags(&transfer.event, cudaEventBlockingSync | cudaEventDisableTiming),
          "event");
    check(cudaEventRecord(transfer.event, stream_), "event");
    {
      std::lock_guard lock(mutex_);
      transfers_.push_back(std::move(transfer));
    }
    work_.notify_one();
  }

  void finish_transfers() {
    cudaSetDevice(index_);
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return stopping_ || !transfers_.empty(); });
      if (transfers_.empty()) return;
      std::vector<Transfer> taken;
      taken.swap(transfers_);
      lock.unlock();
      for (Transfer& each : taken) finish(each);
      lock.lock();
    }
  }

  void finish(Transfer& transfer) {
    const cudaError_t error = cudaEventSynchronize(transfer.event);
    cudaEventDestroy(transfer.event);
    if (transfer.found) {
      auto fault = std::move(transfer.fault);
      if (!fault) fault = reported(error, *transfer.found);
      if (!fault) fault = late_.steal();
      staging_.give(transfer.found, sizeof(Fault));
      if (!fault && transfer.bytes) std::memcpy(transfer.to, transfer.staged, transfer.bytes);
      transfer.done(std::move(fault));
    }
    if (transfer.staged) staging_.give(transfer.staged, transfer.bytes);
  }

  // Copies what a kernel reported and empties its slot, in the stream's order: what comes later is
  // the next reader's.
  cudaError_t take_slot(Fault* found) {
    const cudaError_t error =
        cudaMemcpyAsync(found, fault_, sizeof(Fault), cudaMemcpyDeviceToHost, stream_);
    if (error != cudaSuccess) return error;
    return cudaMemsetAsync(fault_, 0, sizeof(Fault), stream_);
  }

  // What the driver or a kernel reported, or null.
  std::unique_ptr<std::exception_ptr> reported(cudaError_t error, const Fault& found) const {
    if (error != cudaSuccess)
      return std::make_unique<std::exception_ptr>(std::make_exception_ptr(
          Error(code_of(error), name_ + ": " + cudaGetErrorName(error) + ": " +
                                    cudaGetErrorString(error) +
                                    "; EMULSION_SYNC=1 names the operation")));
    if (found.op)
      return std::make_unique<std::exception_ptr>(std::make_exception_ptr(describe(found)));
    return nullptr;
  }

  std::unique_ptr<Graph> start_recording() override {
    open();
    wait();  // faults of earlier work are not the recording's
    take_fault();
    auto graph = std::make_unique<CudaGraph>(*allocator_);
    // Thread-local: the waiting thread and other environments go on meanwhile.
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    return graph;
  }

  void finish_recording(Graph& graph) override {
    cudaGraph_t recorded = nullptr;
    cudaError_t error = cudaStreamEndCapture(stream_, &recorded);
    auto fault = steal_fault();
    cudaGraphExec_t& executable = static_cast<CudaGraph&>(graph).executable;
    if (error == cudaSuccess && !fault) error = cudaGraphInstantiate(&executable, recorded, 0);
    if (recorded) cudaGraphDestroy(recorded);
    if (fault) {
      cudaGetLastError();
      std::rethrow_exception(*fault);
    }
    check(error, "capture");
    check(cudaGraphUpload(executable, stream_), "capture");
  }

  void* acquire(size_t bytes) override {
    open();
    // Forbidden while this thread records, unless it asks for it: the block is no part of the
    // graph.
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaThreadExchangeStreamCaptureMode(&mode);
    void* block = nullptr;
    const cudaError_t error = cudaMalloc(&block, bytes);
    cudaThreadExchangeStreamCaptureMode(&mode);
    if (error == cudaSuccess) return block;
    cudaGetLastError();
    return nullptr;
  }

  void release(void* block, size_t) override {
    cudaSetDevice(index_);
    cudaFree(block);  // waits for the device: no work still uses the block
  }

  const std::string name_;
  const int index_;
  const Limits limits_;
  const bool synchronous_;
  cudaStream_t stream_ = nullptr;
  Fault* fault_ = nullptr;
  Faults faults_, late_;
  Staging staging_;
  std::thread waiter_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::vector<Transfer> transfers_;
  bool stopping_ = false;
  std::unordered_set<const void*> allowed_;
};

}  // namespace

const Limits& limits() { return running->limits(); }

bool hopper_level() {
  static const bool wanted = has_hopper_code() && !portable_kernels_wanted();
  return wanted && limits().capability == 90;
}

Fault* fault_slot() { return running->fault(); }

Workspace::Workspace(int64_t bytes)
    : block_(running->allocator().allocate(static_cast<size_t>(bytes))),
      bytes_(static_cast<size_t>(bytes)) {}

Workspace::~Workspace() { running->allocator().free(block_, bytes_); }

void launch_kernel(const char* op, const void* kernel, const Grid& grid, void** arguments) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  if (grid.shared > default_shared_bytes) running->allow_shared(op, kernel);
  check(cudaLaunchKernel(kernel, grid.blocks, grid.threads, arguments, grid.shared,
                         running->stream()),
        op);
}

}  // namespace emulsion::cuda

namespace emulsion {

std::vector<std::unique_ptr<Device>> make_cuda_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    if (!cuda::why_not(properties).empty()) continue;
    devices.push_back(std::make_unique<cuda::CudaDevice>(i, properties));
  }
  return devices;
}

}  // namespace emulsion
