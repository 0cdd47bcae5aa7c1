// What one JavaScript environment (the main thread or a worker) owns: its devices, its table of
// tensors, its asynchronous reads. Nothing is shared between environments but the thread pool.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "binding/graphs.h"

namespace emulsion::binding {

class Instance {
 public:
  explicit Instance(Napi::Env env);
  ~Instance();

  Handles handles;
  Graphs graphs;

  // Throws ERR_INVALID_ARGUMENT for an index without a device.
  Device& device(int64_t index);
  int device_count() const { return static_cast<int>(devices_.size()); }

  // Copies `bytes` once everything enqueued so far has run, then settles the promise on the
  // JavaScript thread: with the value `keep` refers to, which stays referenced meanwhile, or with
  // the device's fault.
  Napi::Promise read_later(Device& device, Napi::Object keep, void* to, const void* from,
                           size_t bytes);

  // The constructor of lib/errors.ts for errors with a code: (message, code) -> Error.
  Napi::FunctionReference make_error;
  // Tells the garbage collector about memory it cannot see, in steps worth telling. What a program
  // disposes in time it allocates again in the next training step: were each such wave reported,
  // each would make V8 collect the whole heap. So the figure rises with the high-water mark and
  // falls only when the collector itself has freed tensors.
  void report_external_memory(Napi::Env env, bool collected);

 private:
  struct Pending;
  static void settle(Napi::Env env, Napi::Function, std::nullptr_t*, Pending* pending);
  using Settler = Napi::TypedThreadSafeFunction<std::nullptr_t, Pending, &Instance::settle>;

  std::vector<std::unique_ptr<Device>> devices_;
  Settler settler_;
  int64_t pending_ = 0;
  int64_t reported_bytes_ = 0;
};

Instance& instance(Napi::Env env);

// The JavaScript error for a C++ exception; must be called with an exception in flight.
Napi::Value current_error(Napi::Env env);
Napi::Value error_value(Napi::Env env, const std::exception_ptr& exception);

// Runs body and turns whatever it throws into a JavaScript exception.
template <class Body>
napi_value guarded(napi_env env, Body&& body) noexcept {
  try {
    return body();
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (...) {
    napi_throw(env, current_error(env));
  }
  return nullptr;
}

}  // namespace emulsion::binding
