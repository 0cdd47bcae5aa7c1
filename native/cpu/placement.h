// Where a sleeping thread is woken. The scheduler of Linux may put it on the core of whoever wakes
// it, when all others seem busy at that moment; of two threads that wait for each other awake one
// then stands still until the load is balanced, some ten milliseconds later.
#pragma once

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace emulsion::cpu {

#if defined(__linux__)

class Placement {
 public:
  // Lets a thread, which sleeps, be woken on any of its cores but the caller's.
  void keep_off_this_core(pthread_t thread) {
    const int here = sched_getcpu();
    if (here < 0 || pthread_getaffinity_np(thread, sizeof(all_), &all_) != 0) return;
    if (!CPU_ISSET(here, &all_) || CPU_COUNT(&all_) < 2) return;
    cpu_set_t others = all_;
    CPU_CLR(here, &others);
    moved_ = pthread_setaffinity_np(thread, sizeof(others), &others) == 0;
  }
  // By the thread, once it is awake: all its cores are its own again.
  void restore() {
    if (moved_) pthread_setaffinity_np(pthread_self(), sizeof(all_), &all_);
    moved_ = false;
  }

 private:
  cpu_set_t all_;
  bool moved_ = false;
};

#else

class Placement {
 public:
  template <class Thread>
  void keep_off_this_core(Thread) {}
  void restore() {}
};

#endif

}  // namespace emulsion::cpu
