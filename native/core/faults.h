// The first fault of a device's work, kept until somebody reads: its message begins with the
// operation's name.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "core/device.h"
#include "core/errors.h"

namespace emulsion {

class Faults {
 public:
  // Runs the task; what it throws is kept, or thrown on where the caller can take it.
  void run(const char* op, Task& task, bool rethrow) {
    try {
      task();
    } catch (...) {
      if (rethrow) throw;
      keep(describe(op));
    }
  }

  void keep(std::exception_ptr fault) {
    std::lock_guard lock(mutex_);
    if (!first_) first_ = std::move(fault);
  }

  std::unique_ptr<std::exception_ptr> steal() {
    std::lock_guard lock(mutex_);
    if (!first_) return nullptr;
    return std::make_unique<std::exception_ptr>(std::exchange(first_, nullptr));
  }

 private:
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

  std::mutex mutex_;
  std::exception_ptr first_;
};

}  // namespace emulsion
