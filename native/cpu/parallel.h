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
void run_tasks(int64_t count, RangeFunction function, void* context,
               void (*prepare)(void* context) = nullptr);
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

// A 64-byte aligned buffer of the calling thread that lives until its next request for the same
// slot (0..7). Contents are undefined. A kernel may use several slots at once.
template <class T>
T* scratch(int slot, int64_t count) {
  return static_cast<T*>(detail::scratch_bytes(slot, static_cast<size_t>(count) * sizeof(T)));
}

// `size` values that all tasks of a region read, made in pieces: make(begin, end, to). All threads
// share the work or, if they are few and `repeatable` says that it is little beside the tasks, each
// does all of it in a scratch slot of its own. To write a line that another core holds takes up to
// forty times as long as to write an own one, and what is made in the same memory for operation
// after operation is held by all who read it the last time.
template <class T>
class Ingredient {
 public:
  // `make` has to outlive this.
  template <class Make>
  Ingredient(int slot, int64_t size, int64_t pieces, int64_t grain, bool repeatable,
             const Make& make)
      : slot_(slot), size_(size), pieces_(pieces), context_(&make) {
    make_ = [](const void* context, int64_t begin, int64_t end, T* to) {
      (*static_cast<const Make*>(context))(begin, end, to);
    };
    constexpr int64_t most_threads = 4, most_bytes = 5 << 20;  // of all threads
    const int64_t threads = num_threads(), bytes = size * static_cast<int64_t>(sizeof(T));
    if (threads == 1 || (repeatable && threads <= most_threads && threads * bytes <= most_bytes))
      return;
    shared_ = scratch<T>(slot, size);
    parallel_for(pieces, grain, [&](int64_t begin, int64_t end) { make(begin, end, shared_); });
  }
  // By every thread that reads the values, before it does.
  void prepare() const {
    if (!shared_) make_(context_, 0, pieces_, values());
  }
  // The calling thread's.
  T* values() const { return shared_ ? shared_ : scratch<T>(slot_, size_); }

 private:
  int slot_;
  int64_t size_, pieces_;
  const void* context_;
  void (*make_)(const void*, int64_t, int64_t, T*);
  T* shared_ = nullptr;
};

// parallel_tasks for body(i, ingredient's values).
template <class Made, class Body>
void parallel_tasks(int64_t count, const Made& ingredient, Body&& body) {
  struct Context {
    const Made& ingredient;
    std::remove_reference_t<Body>& body;
  } context{ingredient, body};
  detail::run_tasks(
      count,
      [](void* own, int64_t begin, int64_t end) {
        const Context& with = *static_cast<Context*>(own);
        for (int64_t i = begin; i < end; ++i) with.body(i, with.ingredient.values());
      },
      &context, [](void* own) { static_cast<Context*>(own)->ingredient.prepare(); });
}

// The same for tasks that are worth doing whole, each of `length` steps: calls body(task, begin,
// end, values) so that [0, length) of every task is covered. Only where a thread's part of all
// steps ends inside a task is that task cut.
template <class Made, class Body>
void parallel_whole_tasks(int64_t count, int64_t length, const Made& ingredient, Body&& body) {
  const int64_t threads = num_threads(), total = count * length;
  const auto next = [&](int64_t at) {
    const int64_t task_end = (at / length + 1) * length;
    const int64_t part = ((at + 1) * threads - 1) / total;  // parts begin at total * part / threads
    const int64_t part_end = total * (part + 1) / threads;
    return task_end < part_end ? task_end : part_end;
  };
  int64_t cuts = 0;
  for (int64_t at = 0; at < total; at = next(at)) ++cuts;
  parallel_tasks(cuts, ingredient, [&](int64_t index, auto* values) {
    int64_t at = 0;
    for (; index > 0; --index) at = next(at);
    const int64_t task = at / length;
    body(task, at - task * length, next(at) - task * length, values);
  });
}

}  // namespace emulsion::cpu
