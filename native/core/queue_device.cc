#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "core/faults.h"
#include "core/huge_pages.h"
#include "core/queue_device.h"

namespace emulsion {
namespace {

constexpr uint64_t queue_capacity = 4096;  // a power of two
constexpr uint64_t places_at_once = 512;   // that whoever meets a full queue waits for
constexpr size_t cache_line = 64;
// The queue thread polls this long before it sleeps: kernels of a training step come in bursts.
constexpr int spin_rounds = 2000;
constexpr uint64_t nothing = UINT64_MAX;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class QueueDevice final : public Device, private MemorySource {
 public:
  QueueDevice(std::string name, Engine engine, std::unique_ptr<HostMemory> memory, Reuse reuse)
      : name_(std::move(name)),
        engine_(engine),
        synchronous_(runs_synchronously()),
        memory_(std::move(memory)) {
    allocator_.reset(new CachingAllocator(*this, reuse));
    if (!synchronous_) thread_ = std::thread([this] { run(); });
  }

  ~QueueDevice() override {
    recording_.reset();
    allocator_.reset();  // its blocks are released in queue order, before the thread stops
    if (synchronous_) return;
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_one();
    thread_.join();
  }

  const std::string& name() const override { return name_; }
  Engine engine() const override { return engine_; }

  void submit(const char* op, Task task) override {
    if (synchronous_) return faults_.run(op, task, true);
    if (capturing()) {
      static_cast<TaskGraph&>(*recording_).tasks->push_back({op, std::move(task)});
      return;
    }
    enqueue(op, std::move(task));
  }

  void enqueue(const char* op, Task task) {
    const uint64_t number = submitted_.load(std::memory_order_relaxed);
    // Waiting for one place would cost a sleep and a wake-up with every operation from here on.
    if (number - completed_.load(std::memory_order_acquire) >= queue_capacity)
      sleep_until(number - queue_capacity + places_at_once);
    queue_[number % queue_capacity] = {op, std::move(task)};
    submitted_.store(number + 1);
    if (!sleeping_.load()) return;
    {
      std::lock_guard lock(mutex_);
    }  // past this the queue thread is asleep, or has seen the number
    work_.notify_one();
  }

  // What a replay saves is the time of whoever submits, who needs a core that the work could have.
  bool records() const override { return !synchronous_; }

  void replay(Graph& graph) override {
    // The tasks outlive the graph if it goes before the queue gets here.
    submit("replay", Task([this, tasks = static_cast<TaskGraph&>(graph).tasks] {
             for (Entry& entry : *tasks) faults_.run(entry.op, entry.task, false);
           }));
  }

  void wait() override { wait_for(submitted_.load(std::memory_order_relaxed)); }

  bool idle() const override {
    return completed_.load(std::memory_order_acquire) == submitted_.load();
  }

  void take_fault() override {
    if (auto fault = steal_fault()) std::rethrow_exception(*fault);
  }

  std::unique_ptr<std::exception_ptr> steal_fault() override { return faults_.steal(); }

  void write(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    if (idle()) return memory_->write(to, from, bytes);  // nothing pending can touch the block
    std::unique_ptr<char[]> staging(new char[bytes]);
    std::memcpy(staging.get(), from, bytes);
    submit("write", Task([this, to, bytes, staging = std::move(staging)] {
             memory_->write(to, staging.get(), bytes);
           }));
  }

  void read(void* to, const void* from, size_t bytes) override {
    wait();
    take_fault();
    if (bytes) memory_->read(to, from, bytes);
  }

  void write_when(std::shared_future<void> ready, void* to, std::shared_ptr<void> from,
                  size_t bytes) override {
    submit("transfer", Task([this, ready = std::move(ready), to, from = std::move(from), bytes] {
             ready.get();
             memory_->write(to, from.get(), bytes);
           }));
  }

  std::shared_ptr<void> staging(size_t bytes) override {
    return std::shared_ptr<char[]>(new char[bytes]);
  }

  void read_then(void* to, const void* from, size_t bytes, Done done) override {
    submit("read", Task([this, to, from, bytes, done = std::move(done)] {
             auto fault = steal_fault();
             if (!fault && bytes) memory_->read(to, from, bytes);
             done(std::move(fault));
           }));
  }

 private:
  struct Entry {
    const char* op = nullptr;
    Task task;
  };

  struct TaskGraph final : Graph {
    using Graph::Graph;
    std::shared_ptr<std::vector<Entry>> tasks = std::make_shared<std::vector<Entry>>();
  };

  std::unique_ptr<Graph> start_recording() override {
    return std::make_unique<TaskGraph>(*allocator_);
  }

  // Waits until the first `count` entries have run.
  void wait_for(uint64_t count) {
    for (int round = 0; round < spin_rounds; ++round) {
      if (completed_.load(std::memory_order_acquire) >= count) return;
      pause();
    }
    sleep_until(count);
  }

  void sleep_until(uint64_t count) {
    std::unique_lock lock(mutex_);
    awaited_.store(count);
    done_.wait(lock, [&] { return completed_.load() >= count; });
    awaited_.store(nothing);
  }

  void run() {
    for (uint64_t number = 0; await_entry(number); ++number) {
      Entry& entry = queue_[number % queue_capacity];
      faults_.run(entry.op, entry.task, false);
      entry.task = Task();
      completed_.store(number + 1);
      if (number + 1 < awaited_.load()) continue;
      { std::lock_guard lock(mutex_); }
      done_.notify_all();
    }
  }

  // Whether there is an entry of this number; false when the device goes away instead.
  bool await_entry(uint64_t number) {
    for (int round = 0; round < spin_rounds; ++round) {
      if (submitted_.load(std::memory_order_acquire) > number) return true;
      pause();
    }
    std::unique_lock lock(mutex_);
    sleeping_.store(true);
    work_.wait(lock, [&] { return stopping_ || submitted_.load() > number; });
    sleeping_.store(false);
    return submitted_.load() > number;
  }

  void* acquire(size_t bytes) override { return memory_->acquire(bytes); }

  void release(void* block, size_t bytes) override {
    Task task([this, block, bytes] { memory_->release(block, bytes); });
    if (synchronous_) return faults_.run("release", task, true);
    enqueue("release", std::move(task));  // never part of a recording
  }

  const std::string name_;
  const Engine engine_;
  const bool synchronous_;
  const std::unique_ptr<HostMemory> memory_;
  std::thread thread_;
  Faults faults_;
  std::mutex mutex_;
  std::condition_variable work_, done_;
  // A ring with one writer, the thread that submits, and one reader, the queue thread. Entry n lies
  // at n modulo the capacity. The mutex is for sleeping alone; whoever raises a flag before it
  // sleeps looks at the other side's number once more, and the other side looks at the flag after
  // its number, both in the one order of sequentially consistent operations: one of them sees the
  // other.
  std::vector<Entry> queue_{queue_capacity};
  alignas(cache_line) std::atomic<uint64_t> submitted_{0};
  std::atomic<uint64_t> awaited_{nothing};  // the count that somebody sleeps for
  alignas(cache_line) std::atomic<uint64_t> completed_{0};
  std::atomic<bool> sleeping_{false};
  bool stopping_ = false;
};

size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

class SystemMemory final : public HostMemory {
 public:
  void* acquire(size_t bytes) override {
    return bytes >= huge_page ? acquire_huge(bytes) : std::aligned_alloc(64, round_up(bytes, 64));
  }
  void release(void* block, size_t bytes) override {
    bytes >= huge_page ? release_huge(block, bytes) : std::free(block);
  }
  void write(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
};

}  // namespace

std::unique_ptr<Device> make_queue_device(std::string name, Engine engine,
                                          std::unique_ptr<HostMemory> memory, Reuse reuse) {
  return std::make_unique<QueueDevice>(std::move(name), engine, std::move(memory), reuse);
}

std::unique_ptr<Device> make_cpu_device() {
  return make_queue_device("cpu", Engine::cpu, std::make_unique<SystemMemory>(), Reuse::cached);
}

}  // namespace emulsion
