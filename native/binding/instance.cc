#include "binding/instance.h"

#include <new>

namespace emulsion::binding {

// One asynchronous read under way. `error` is written on the queue thread before the settler is
// called.
struct Instance::Pending {
  Instance* owner;
  Napi::Promise::Deferred deferred;
  Napi::ObjectReference keep;
  std::unique_ptr<std::exception_ptr> error;
};

Instance::Instance(Napi::Env env) {
  devices_.push_back(make_cpu_device());
#if defined(EMULSION_HAS_cuda)
  for (auto& device : make_cuda_devices()) devices_.push_back(std::move(device));
#endif
  settler_ = Settler::New(env, "emulsion", 0, 1);
  settler_.Unref(env);  // an idle engine does not keep the process alive
}

Instance::~Instance() {
  graphs.clear();
  handles.release_all();
  for (auto& device : devices_) try {
      device->wait();
    } catch (...) {
      // A GPU that failed says so to whoever reads; nobody does any more.
    }
  devices_.clear();
}

Device& Instance::device(int64_t index) {
  EMULSION_CHECK(index >= 0 && index < device_count(), "no device with index ", index,
                 "; there are ", device_count());
  return *devices_[static_cast<size_t>(index)];
}

Napi::Promise Instance::read_later(Device& device, Napi::Object keep, void* to, const void* from,
                                   size_t bytes) {
  Napi::Env env = keep.Env();
  auto* pending =
      new Pending{this, Napi::Promise::Deferred::New(env), Napi::Persistent(keep), nullptr};
  Napi::Promise promise = pending->deferred.Promise();
  if (pending_++ == 0) settler_.Ref(env);
  device.read_then(to, from, bytes, [this, pending](std::unique_ptr<std::exception_ptr> fault) {
    pending->error = std::move(fault);
    settler_.NonBlockingCall(pending);
  });
  return promise;
}

void Instance::settle(Napi::Env env, Napi::Function, std::nullptr_t*, Pending* pending) {
  std::unique_ptr<Pending> owned(pending);
  if (env == nullptr) return;  // the environment is going away
  Napi::HandleScope scope(env);
  if (--pending->owner->pending_ == 0) pending->owner->settler_.Unref(env);
  if (pending->error)
    pending->deferred.Reject(error_value(env, *pending->error));
  else
    pending->deferred.Resolve(pending->keep.Value());
}

void Instance::report_external_memory(Napi::Env env, bool collected) {
  constexpr int64_t step = int64_t{8} << 20;
  int64_t live = 0;
  for (auto& device : devices_) live += device->allocator().stats().live_bytes;
  const int64_t change = live - reported_bytes_;
  if (change < step && !(collected && change <= -step)) return;
  reported_bytes_ = live;
  Napi::MemoryManagement::AdjustExternalMemory(env, change);
}

Instance& instance(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

Napi::Value error_value(Napi::Env env, const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (...) {
    return current_error(env);
  }
}

Napi::Value current_error(Napi::Env env) {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  try {
    throw;
  } catch (const Napi::Error& error) {
    return error.Value();
  } catch (const Error& error) {
    code = error.code();
    message = error.what();
  } catch (const std::bad_alloc&) {
    code = ErrorCode::out_of_memory;
    message = "out of memory";
  } catch (const std::exception& error) {
    message = error.what();
  }
  Napi::Function make_error =
      instance(env).make_error.IsEmpty() ? Napi::Function() : instance(env).make_error.Value();
  const auto text = Napi::String::New(env, message);
  const auto name = Napi::String::New(env, error_code_name(code));
  if (!make_error.IsEmpty()) return make_error.Call({text, name});
  Napi::Object error = Napi::Error::New(env, message).Value();
  error.Set("code", name);
  return error;
}

}  // namespace emulsion::binding
