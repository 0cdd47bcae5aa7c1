// The CPU engine's pool. Work is split statically into contiguous ranges, one per thread, so that
// the same inputs give the same bits for a given thread count. Nested calls run serially.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace emulsion::cpu {

// Threads that share a parallel region, the calling one included.
int num_threads();
// Between 1 and 256; takes effect for regions that start later.
void set_num_threads(int count);
// Index of the calling thread in [0, num_threads()) inside a region, 0 outside.
int thread_index();

namespace detail {
using RangeFunction = void (*)(void* context, int64_t begin, int64_t end);
void run_ranges(int64_t count, int64_t grain, RangeFunction function, void* context);
void run_tasks(int64_t count, RangeFunction function, void* context);
void* scratch_bytes(int slot, size_t bytes);
}  // namespace detail

// Calls body(begin, end) on disjoint ranges that cover [0, count). No range but the last is shorter
// than grain: choose it so that a range is worth some ten microseconds.
template <class Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  using Function = std::remove_reference_t<Body>;
  detail::run_ranges(
      count, grain,
      [](void* context, int64_t begin, int64_t end) {
        (*static_cast<Function*>(context))(begin, end);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Calls body(i) once for every i in [0, count): for uneven work. A thread begins with the same part
// every time, then helps the others. The result must not depend on which thread runs which i.
template <class Body>
void parallel_tasks(int64_t count, Body&& body) {
  using Function = std::remove_reference_t<Body>;
  detail::run_tasks(
      count,
      [](void* context, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) (*static_cast<Function*>(context))(i);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// For tasks that are worth doing whole, each of `length` steps: calls body(task, begin, end) so that
// [0, length) of every task is covered. Only where a thread's part of all steps ends inside a task
// is that task cut.
template <class Body>
void parallel_whole_tasks(int64_t count, int64_t length, Body&& body) {
  const int64_t threads = num_threads(), total = count * length;
  const auto next = [&](int64_t at) {
    const int64_t task_end = (at / length + 1) * length;
    const int64_t part = ((at + 1) * threads - 1) / total;  // parts begin at total * part / threads
    const int64_t part_end = total * (part + 1) / threads;
    return task_end < part_end ? task_end : part_end;
  };
  int64_t cuts = 0;
  for (int64_t at = 0; at < total; at = next(at)) ++cuts;
  parallel_tasks(cuts, [&](int64_t index) {
    int64_t at = 0;
    for (; index > 0; --index) at = next(at);
    const int64_t task = at / length;
    body(task, at - task * length, next(at) - task * length);
  });
}

// A 64-byte aligned buffer of the calling thread that lives until its next request for the same
// slot (0..7). Contents are undefined. A kernel may use several slots at once.
template <class T>
T* scratch(int slot, int64_t count) {
  return static_cast<T*>(detail::scratch_bytes(slot, static_cast<size_t>(count) * sizeof(T)));
}

}  // namespace emulsion::cpu
