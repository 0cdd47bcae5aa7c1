#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/device.h"
#include "core/errors.h"

namespace emulsion {
namespace {

constexpr size_t queue_capacity = 4096;
constexpr size_t huge_page = size_t{2} << 20;
// The queue thread polls this long before it sleeps: kernels of a training step come in bursts.
constexpr int spin_rounds = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class CpuDevice final : public Device, private MemorySource {
 public:
  CpuDevice() : synchronous_(is_set("EMULSION_SYNC")) {
    allocator_.reset(new CachingAllocator(*this));
    if (!synchronous_) thread_ = std::thread([this] { run(); });
  }

  ~CpuDevice() override {
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

  void submit(const char* op, Task task) override {
    if (synchronous_) return run_one(op, task, true);
    std::unique_lock lock(mutex_);
    space_.wait(lock, [this] { return queue_.size() < queue_capacity; });
    queue_.push_back({op, std::move(task)});
    submitted_.fetch_add(1, std::memory_order_release);
    if (!sleeping_) return;
    lock.unlock();
    work_.notify_one();
  }

  void wait() override {
    const uint64_t target = submitted_.load();
    for (int round = 0; completed_.load(std::memory_order_acquire) < target; ++round) {
      if (round < spin_rounds) {
        pause();
        continue;
      }
      std::unique_lock lock(mutex_);
      ++waiters_;
      done_.wait(lock, [&] { return completed_.load(std::memory_order_acquire) >= target; });
      --waiters_;
    }
  }

  bool idle() const override {
    return completed_.load(std::memory_order_acquire) == submitted_.load();
  }

  void take_fault() override {
    if (auto fault = steal_fault()) std::rethrow_exception(*fault);
  }

  std::unique_ptr<std::exception_ptr> steal_fault() override {
    std::lock_guard lock(fault_mutex_);
    if (!fault_) return nullptr;
    return std::make_unique<std::exception_ptr>(std::exchange(fault_, nullptr));
  }

  void write(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    if (idle()) {  // nothing pending can touch the block
      std::memcpy(to, from, bytes);
      return;
    }
    std::unique_ptr<char[]> staging(new char[bytes]);
    std::memcpy(staging.get(), from, bytes);
    submit("write", Task([to, bytes, staging = std::move(staging)] {
             std::memcpy(to, staging.get(), bytes);
           }));
  }

  void read(void* to, const void* from, size_t bytes) override {
    if (bytes) std::memcpy(to, from, bytes);
  }

 private:
  struct Entry {
    const char* op;
    Task task;
  };

  static bool is_set(const char* variable) {
    const char* value = std::getenv(variable);
    return value && *value && std::strcmp(value, "0") != 0;
  }

  void run_one(const char* op, Task& task, bool rethrow) {
    try {
      task();
    } catch (...) {
      if (rethrow) throw;
      std::lock_guard lock(fault_mutex_);
      if (!fault_) fault_ = describe(op);
    }
  }

  // The exception in flight, with the op's name in front when it does not carry it yet.
  static std::exception_ptr describe(const char* op) {
    try {
      throw;
    } catch (const Error& error) {
      const std::string text = error.what();
      return std::make_exception_ptr(
          text.rfind(op, 0) == 0 ? error : Error(error.code(), std::string(op) + ": " + text));
    } catch (const std::bad_alloc&) {
      return std::make_exception_ptr(
          Error(ErrorCode::out_of_memory, std::string(op) + ": out of memory"));
    } catch (const std::exception& error) {
      return std::make_exception_ptr(
          Error(ErrorCode::internal, std::string(op) + ": " + error.what()));
    }
  }

  void run() {
    for (;;) {
      for (int round = 0; round < spin_rounds; ++round) {
        if (submitted_.load(std::memory_order_acquire) !=
            completed_.load(std::memory_order_relaxed))
          break;
        pause();
      }
      Entry entry;
      {
        std::unique_lock lock(mutex_);
        sleeping_ = true;
        work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        sleeping_ = false;
        if (queue_.empty()) return;
        entry = std::move(queue_.front());
        queue_.pop_front();
        if (queue_.size() + 1 == queue_capacity) space_.notify_one();
      }
      run_one(entry.op, entry.task, false);
      entry.task = Task();
      completed_.fetch_add(1, std::memory_order_release);
      std::lock_guard lock(mutex_);
      if (waiters_) done_.notify_all();
    }
  }

  // Large blocks are aligned to huge pages: a convolution's operands then need a handful of TLB
  // entries.
  void* acquire(size_t bytes) override {
    const size_t alignment = bytes >= huge_page ? huge_page : 64;
    void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#if defined(__linux__)
    if (block && bytes >= huge_page) madvise(block, bytes, MADV_HUGEPAGE);
#endif
    return block;
  }

  void release(void* block, size_t) override {
    submit("release", Task([block] { std::free(block); }));
  }

  const std::string name_ = "cpu";
  const bool synchronous_;
  std::thread thread_;
  std::mutex mutex_, fault_mutex_;
  std::condition_variable work_, space_, done_;
  std::deque<Entry> queue_;
  std::atomic<uint64_t> submitted_{0}, completed_{0};
  int waiters_ = 0;
  bool sleeping_ = false, stopping_ = false;
  std::exception_ptr fault_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device() { return std::make_unique<CpuDevice>(); }

}  // namespace emulsion
