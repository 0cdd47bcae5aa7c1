#include "cpu/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "core/huge_pages.h"
#include "cpu/placement.h"

namespace emulsion::cpu {
namespace {

constexpr int max_threads = 256;
constexpr int scratch_slots = 8;
// Kernels follow each other within microseconds; waking a sleeping thread costs about ten, and on a
// virtual machine many times that. These rounds take some 0.3 ms. They keep the core: a thread that
// yields it on a busy machine waits for the slice of whoever takes it, some milliseconds in every
// region.
constexpr int spin_rounds = 16000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// What was stored past the caches is in memory before anything that follows.
void settle_stores() {
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

// Waits awake for ready(); returns whether it came true in time.
template <class Ready>
bool await(Ready&& ready) {
  for (int round = 0; round < spin_rounds; ++round) {
    if (ready()) return true;
    pause();
  }
  return ready();
}

thread_local int current_index = 0;
thread_local bool inside_region = false;

// A huge page of cells, one for each slot; a slot that wants more gets huge pages of its own.
class ScratchArena {
 public:
  ~ScratchArena() {
    for (int slot = 0; slot < scratch_slots; ++slot) release(slot);
    if (cells_) release_block(cells_, huge_page);
  }
  void* block(int slot, size_t bytes) {
    if (!cells_) cells_ = static_cast<char*>(acquire(huge_page));
    if (bytes <= sizes_[slot]) return blocks_[slot];
    if (bytes <= cell) return cells_ + slot * cell;
    release(slot);
    const size_t size = bytes + bytes / spare;
    blocks_[slot] = acquire(size);
    sizes_[slot] = size;
    return blocks_[slot];
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  // Every slot has a block that ends where the kernel says.
  static constexpr size_t cell = 0, spare = SIZE_MAX;

  static void* acquire_block(size_t bytes) {
    return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  }
  static void release_block(void* block, size_t) { std::free(block); }
#else
  static constexpr size_t cell = huge_page / scratch_slots, spare = 4;

  static void* acquire_block(size_t bytes) { return acquire_huge(bytes); }
  static void release_block(void* block, size_t bytes) { release_huge(block, bytes); }
#endif

  static void* acquire(size_t bytes) {
    void* block = acquire_block(bytes);
    if (!block) throw std::bad_alloc();
    return block;
  }
  void release(int slot) {
    if (blocks_[slot]) release_block(blocks_[slot], sizes_[slot]);
    blocks_[slot] = nullptr;
    sizes_[slot] = 0;
  }

  char* cells_ = nullptr;
  void* blocks_[scratch_slots] = {};  // of slots that have outgrown their cells
  size_t sizes_[scratch_slots] = {};
};
thread_local ScratchArena arena;

// `asleep` and `placement` belong to whoever holds the mutex of waking.
struct Worker {
  std::thread thread;
  bool asleep = false;
  Placement placement;
};

// A thread's own part of a region's tasks, on a cache line of its own.
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;
};

int default_threads() {
  if (const char* text = std::getenv("EMULSION_NUM_THREADS")) {
    const int value = std::atoi(text);
    if (value >= 1) return std::min(value, max_threads);
  }
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, max_threads);
}

class Pool {
 public:
  Pool() { resize(default_threads()); }
  ~Pool() { stop(); }

  int size() const { return size_.load(std::memory_order_relaxed); }

  void set_size(int count) {
    std::lock_guard region(region_mutex_);
    stop();
    resize(std::clamp(count, 1, max_threads));
  }

  // Runs job(index) on threads 0..participants-1 and waits for all of them.
  template <class Job>
  void run(int participants, Job& job) {
    std::lock_guard region(region_mutex_);  // two addon instances may share the pool
    participants = std::min(participants, size());
    job_ = [](void* context, int index) { (*static_cast<Job*>(context))(index); };
    context_ = &job;
    error_ = nullptr;
    pending_.store(participants - 1, std::memory_order_relaxed);
    announce(participants);
    run_as(0);
    const auto finished = [this] { return pending_.load(std::memory_order_acquire) == 0; };
    if (!await(finished))
      while (!finished()) std::this_thread::yield();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void run_as(int index) {
    current_index = index;
    inside_region = true;
    try {
      job_(context_, index);
    } catch (...) {
      std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
    settle_stores();
    inside_region = false;
    current_index = 0;
  }

  // The announcement packs a generation and the number of participants into one word: a worker that
  // does not take part never looks at a job that may already be the next one.
  void announce(int participants) {
    {
      std::lock_guard lock(wake_mutex_);
      for (int index = 1; index < participants; ++index) {
        Worker& worker = *workers_[static_cast<size_t>(index - 1)];
        if (worker.asleep) worker.placement.keep_off_this_core(worker.thread.native_handle());
      }
      const uint64_t generation = (announcement_.load(std::memory_order_relaxed) >> 16) + 1;
      announcement_.store(generation << 16 | static_cast<uint64_t>(participants),
                          std::memory_order_release);
    }
    wake_.notify_all();
  }

  void work(Worker& self, int index, uint64_t seen) {
    for (;;) {
      const auto announced = [&] { return announcement_.load(std::memory_order_acquire) != seen; };
      if (!await(announced)) {
        std::unique_lock lock(wake_mutex_);
        self.asleep = true;
        wake_.wait(lock, announced);
        self.asleep = false;
        self.placement.restore();
      }
      seen = announcement_.load(std::memory_order_acquire);
      const uint64_t participants = seen & 0xffff;
      if (participants == 0) return;  // the pool stops
      if (index < static_cast<int>(participants)) {
        run_as(index);
        pending_.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  void resize(int count) {
    const uint64_t seen = announcement_.load();
    for (int index = 1; index < count; ++index) {
      Worker& worker = *workers_.emplace_back(std::make_unique<Worker>());
      worker.thread = std::thread([this, &worker, index, seen] { work(worker, index, seen); });
    }
    size_.store(count);
  }

  void stop() {
    announce(0);
    for (const auto& worker : workers_) worker->thread.join();
    workers_.clear();
  }

  std::mutex region_mutex_, wake_mutex_, error_mutex_;
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<uint64_t> announcement_{0};
  std::atomic<int> pending_{0}, size_{1};
  void (*job_)(void*, int) = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
};

Pool& pool() {
  static Pool instance;
  return instance;
}

}  // namespace

int num_threads() { return pool().size(); }
void set_num_threads(int count) { pool().set_size(count); }
int thread_index() { return current_index; }

namespace detail {

void run_ranges(int64_t count, int64_t grain, RangeFunction function, void* context) {
  if (count <= 0) return;
  const int64_t ranges =
      std::min<int64_t>(num_threads(), std::max<int64_t>(1, count / std::max<int64_t>(grain, 1)));
  if (ranges == 1 || inside_region) {
    function(context, 0, count);
    return settle_stores();
  }
  auto job = [&](int index) {
    const int64_t begin = count * index / ranges;
    const int64_t end = count * (index + 1) / ranges;
    if (begin < end) function(context, begin, end);
  };
  pool().run(static_cast<int>(ranges), job);
}

void run_tasks(int64_t count, RangeFunction function, void* context,
               void (*prepare)(void* context)) {
  if (count <= 0) return;
  const int participants = static_cast<int>(std::min<int64_t>(num_threads(), count));
  if (participants == 1 || inside_region) {
    if (prepare) prepare(context);
    function(context, 0, count);
    return settle_stores();
  }
  const std::unique_ptr<Share[]> shares(new Share[static_cast<size_t>(participants)]);
  for (int index = 0; index < participants; ++index) {
    shares[index].next.store(count * index / participants, std::memory_order_relaxed);
    shares[index].end = count * (index + 1) / participants;
  }
  auto job = [&](int index) {
    bool prepared = prepare == nullptr;
    for (int visited = 0; visited < participants; ++visited) {
      Share& share = shares[(index + visited) % participants];
      for (int64_t i; (i = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
        if (!prepared) prepare(context);
        prepared = true;
        function(context, i, i + 1);
      }
    }
  };
  pool().run(participants, job);
}

void* scratch_bytes(int slot, size_t bytes) { return arena.block(slot, bytes); }

}  // namespace detail
}  // namespace emulsion::cpu
