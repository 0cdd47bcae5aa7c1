// The addon's exports beside the kernels: tensors' lifetime, transfers, devices, settings.
#include <cstring>
#include <sstream>

#include "binding/engine_info.h"
#include "binding/instance.h"
#include "binding/ops.h"
#include "core/precision.h"
#include "cpu/caches.h"
#include "cpu/parallel.h"

namespace emulsion::binding {
namespace {

constexpr int64_t max_elements = int64_t{1} << 48;

int64_t integer(const Napi::CallbackInfo& info, size_t position, const char* what) {
  const Napi::Value value = info[position];
  EMULSION_CHECK(value.IsNumber(), what, ": expected an integer");
  const double real = value.As<Napi::Number>().DoubleValue();
  EMULSION_CHECK(real == std::floor(real) && std::fabs(real) < 9007199254740992.0, what,
                 ": expected an integer, got ", real);
  return static_cast<int64_t>(real);
}

// Recorded work runs later: nothing can be waited for, and the host's bytes would be gone.
void refuse_while_recording(const Napi::CallbackInfo& info, const char* op) {
  EMULSION_CHECK(!instance(info.Env()).graphs.recording(), op, ": not while work is recorded");
}

Handles::Slot& slot(const Napi::CallbackInfo& info, size_t position, const char* op) {
  const Napi::Value value = info[position];
  Handles::Slot* found =
      value.IsNumber() ? instance(info.Env()).handles.find(value.As<Napi::Number>().DoubleValue())
                       : nullptr;
  if (!found) fail(ErrorCode::disposed, op, ": no live tensor has this id");
  return *found;
}

// Dimensions from the arguments at and after `first`.
Shape shape_from(const Napi::CallbackInfo& info, size_t first, const char* op) {
  Shape shape;
  int64_t elements = 1;
  for (size_t i = first; i < info.Length(); ++i) {
    const int64_t dim = integer(info, i, op);
    EMULSION_CHECK(dim >= 0, op, ": a dimension is negative: ", dim);
    shape.push_back(dim);
    EMULSION_CHECK(dim == 0 || elements <= max_elements / dim, op, ": too many elements");
    elements *= dim;
  }
  return shape;
}

DType dtype_from(const Napi::CallbackInfo& info, size_t position, const char* op) {
  const int64_t code = integer(info, position, op);
  EMULSION_CHECK(code >= 0 && code < dtype_count, op, ": no dtype has code ", code);
  return static_cast<DType>(code);
}

void* allocate(Instance& owner, Device& device, size_t bytes) {
  try {
    return device.allocator().allocate(bytes);
  } catch (const Error& error) {
    std::ostringstream message;
    message << error.what();
    const char* title = ". Largest live blocks on ";
    for (const Handles::Slot* slot : owner.handles.largest(device, 5)) {
      if (title) message << title << device.name() << ':';
      title = nullptr;
      message << "\n  " << slot->storage->bytes << " bytes: " << dtype_name(slot->view.dtype) << ' '
              << slot->view.shape.to_string();
    }
    throw Error(error.code(), message.str());
  }
}

// empty(device, dtype, ...shape) -> id of an uninitialised tensor.
napi_value empty(const Napi::CallbackInfo& info) {
  Instance& owner = instance(info.Env());
  Device& device = owner.device(integer(info, 0, "empty"));
  View view;
  view.dtype = dtype_from(info, 1, "empty");
  view.shape = shape_from(info, 2, "empty");
  const size_t bytes = static_cast<size_t>(view.bytes());
  view.data = allocate(owner, device, bytes);
  const double id = owner.handles.create(new Storage{&device, view.data, bytes, 0}, view);
  owner.report_external_memory(info.Env(), false);
  return Napi::Number::New(info.Env(), id);
}

// view(id, offset in elements, ...shape) -> id of a tensor over a part of the same memory.
napi_value view(const Napi::CallbackInfo& info) {
  Instance& owner = instance(info.Env());
  Handles::Slot& from = slot(info, 0, "view");
  const int64_t offset = integer(info, 1, "view");
  View view = from.view;
  view.shape = shape_from(info, 2, "view");
  const int64_t elements = view.numel();
  EMULSION_CHECK(
      offset >= 0 && elements <= from.view.numel() && offset <= from.view.numel() - elements,
      "view: ", elements, " elements at offset ", offset, " exceed the tensor's ",
      from.view.numel());
  view.data = static_cast<char*>(view.data) + offset * dtype_size(view.dtype);
  Storage* storage = from.storage;  // create() may move the slot
  return Napi::Number::New(info.Env(), owner.handles.create(storage, view));
}

bool release_handle(const Napi::CallbackInfo& info) {
  Handles& handles = instance(info.Env()).handles;
  const Napi::Value value = info[0];
  Handles::Slot* found =
      value.IsNumber() ? handles.find(value.As<Napi::Number>().DoubleValue()) : nullptr;
  if (found) handles.release(found);
  return found != nullptr;
}

// release(id) -> whether it named a live tensor. Never throws.
napi_value release(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), release_handle(info));
}

// releaseCollected(id): release for a finalizer, whose tensor may be long gone.
napi_value release_collected(const Napi::CallbackInfo& info) {
  if (release_handle(info)) instance(info.Env()).report_external_memory(info.Env(), true);
  return info.Env().Undefined();
}

// isShared(id) -> whether another live tensor is a view of the same memory.
napi_value is_shared(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), slot(info, 0, "isShared").storage->references > 1);
}

struct Bytes {
  Napi::TypedArray array;
  char* data;
  size_t length;
};

// The typed array at a position, which must be exactly as long as the tensor.
Bytes bytes_for(const Napi::CallbackInfo& info, size_t position, const View& view, const char* op) {
  const Napi::Value value = info[position];
  EMULSION_CHECK(value.IsTypedArray(), op, ": expected a typed array");
  const auto array = value.As<Napi::TypedArray>();
  EMULSION_CHECK(array.ByteLength() == static_cast<size_t>(view.bytes()), op, ": the array has ",
                 array.ByteLength(), " bytes, the tensor ", view.bytes());
  return {array, static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset(),
          array.ByteLength()};
}

// write(id, typed array): host to device. The array may be changed right after.
napi_value write(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "write");
  Handles::Slot& to = slot(info, 0, "write");
  const Bytes from = bytes_for(info, 1, to.view, "write");
  to.storage->device->write(to.view.data, from.data, from.length);
  return info.Env().Undefined();
}

// read(id, typed array) -> promise of the array, filled.
napi_value read(const Napi::CallbackInfo& info) {
  Handles::Slot& from = slot(info, 0, "read");
  const Bytes to = bytes_for(info, 1, from.view, "read");
  Device& device = *from.storage->device;
  refuse_while_recording(info, "read");
  return instance(info.Env()).read_later(device, to.array, to.data, from.view.data, to.length);
}

// readSync(id, typed array): waits for the queue.
napi_value read_sync(const Napi::CallbackInfo& info) {
  Handles::Slot& from = slot(info, 0, "readSync");
  const Bytes to = bytes_for(info, 1, from.view, "readSync");
  Device& device = *from.storage->device;
  refuse_while_recording(info, "readSync");
  device.read(to.data, from.view.data, to.length);
  return info.Env().Undefined();
}

// transfer(from, to): copies between tensors of one dtype and size on two devices.
napi_value transfer(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "transfer");
  const Handles::Slot& from = slot(info, 0, "transfer");
  const Handles::Slot& to = slot(info, 1, "transfer");
  EMULSION_CHECK(from.view.dtype == to.view.dtype && from.view.numel() == to.view.numel(),
                 "transfer: from ", dtype_name(from.view.dtype), ' ', from.view.shape, " to ",
                 dtype_name(to.view.dtype), ' ', to.view.shape);
  if (from.view.bytes() > 0)
    emulsion::transfer(*from.storage->device, from.view.data, *to.storage->device, to.view.data,
                       static_cast<size_t>(from.view.bytes()));
  return info.Env().Undefined();
}

napi_value synchronize(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "synchronize");
  Instance& owner = instance(info.Env());
  return owner.read_later(owner.device(integer(info, 0, "synchronize")),
                          Napi::Object::New(info.Env()), nullptr, nullptr, 0);
}

napi_value synchronize_sync(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "synchronizeSync");
  Device& device = instance(info.Env()).device(integer(info, 0, "synchronizeSync"));
  device.wait();
  device.take_fault();
  return info.Env().Undefined();
}

napi_value memory_stats(const Napi::CallbackInfo& info) {
  Instance& owner = instance(info.Env());
  const MemoryStats& stats = owner.device(integer(info, 0, "memoryStats")).allocator().stats();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("liveBytes", static_cast<double>(stats.live_bytes));
  result.Set("peakBytes", static_cast<double>(stats.peak_bytes));
  result.Set("cachedBytes", static_cast<double>(stats.cached_bytes));
  result.Set("graphBytes", static_cast<double>(stats.graph_bytes));
  result.Set("liveBlocks", static_cast<double>(stats.live_blocks));
  result.Set("allocations", static_cast<double>(stats.allocations));
  result.Set("tensors", static_cast<double>(owner.handles.count()));
  return result;
}

napi_value reset_peak(const Napi::CallbackInfo& info) {
  instance(info.Env()).device(integer(info, 0, "resetPeak")).allocator().reset_peak();
  return info.Env().Undefined();
}

napi_value empty_cache(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "emptyCache");
  instance(info.Env()).device(integer(info, 0, "emptyCache")).allocator().empty_cache();
  return info.Env().Undefined();
}

// setMemoryLimit(device, bytes): negative bytes lift it.
napi_value set_memory_limit(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "setMemoryLimit");
  Device& device = instance(info.Env()).device(integer(info, 0, "setMemoryLimit"));
  const int64_t bytes = integer(info, 1, "setMemoryLimit");
  device.allocator().set_limit(bytes < 0 ? no_limit : bytes);
  return info.Env().Undefined();
}

// records(device) -> whether its work can be captured.
napi_value records(const Napi::CallbackInfo& info) {
  const Device& device = instance(info.Env()).device(integer(info, 0, "records"));
  return Napi::Boolean::New(info.Env(), device.records());
}

// beginCapture(device, graph whose memory it shares, or 0)
napi_value begin_capture(const Napi::CallbackInfo& info) {
  Instance& owner = instance(info.Env());
  Device& device = owner.device(integer(info, 0, "beginCapture"));
  owner.graphs.begin(device, integer(info, 1, "beginCapture"));
  return info.Env().Undefined();
}

// endCapture() -> the graph's number.
napi_value end_capture(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(instance(info.Env()).graphs.end()));
}

napi_value cancel_capture(const Napi::CallbackInfo& info) {
  instance(info.Env()).graphs.cancel();
  return info.Env().Undefined();
}

napi_value replay(const Napi::CallbackInfo& info) {
  instance(info.Env()).graphs.replay(integer(info, 0, "replay"));
  return info.Env().Undefined();
}

napi_value release_graph(const Napi::CallbackInfo& info) {
  const int64_t id = integer(info, 0, "releaseGraph");
  return Napi::Boolean::New(info.Env(), instance(info.Env()).graphs.release(id));
}

napi_value set_threads(const Napi::CallbackInfo& info) {
  refuse_while_recording(info, "setNumThreads");
  const int64_t count = integer(info, 0, "setNumThreads");
  EMULSION_CHECK(count >= 1 && count <= 256, "setNumThreads: expected 1 to 256 threads, got ",
                 count);
  Instance& owner = instance(info.Env());
  for (int i = 0; i < owner.device_count(); ++i) owner.device(i).wait();
  cpu::set_num_threads(static_cast<int>(count));
  return info.Env().Undefined();
}

// tf32(allowed) for what is called from here on; tf32() only asks. -> whether TF32 is allowed.
napi_value tf32(const Napi::CallbackInfo& info) {
  if (info.Length() > 0) {
    EMULSION_CHECK(info[0].IsBoolean(), "tf32: expected a boolean");
    const bool allowed = info[0].As<Napi::Boolean>();
    if (allowed != tf32_allowed()) {
      refuse_while_recording(info, "setFloat32MatmulPrecision");
      Instance& owner = instance(info.Env());
      for (int i = 0; i < owner.device_count(); ++i) owner.device(i).wait();
      allow_tf32(allowed);
    }
  }
  return Napi::Boolean::New(info.Env(), tf32_allowed());
}

napi_value engine(const Napi::CallbackInfo& info) { return engine_info(info.Env()); }

napi_value set_error_factory(const Napi::CallbackInfo& info) {
  EMULSION_CHECK(info[0].IsFunction(), "setErrorFactory: expected a function");
  instance(info.Env()).make_error = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

template <napi_value (*body)(const Napi::CallbackInfo&)>
napi_value exported(napi_env env, napi_callback_info info) {
  return guarded(env, [&] { return body(Napi::CallbackInfo(env, info)); });
}

template <napi_value (*body)(const Napi::CallbackInfo&)>
void define(Napi::Env env, Napi::Object exports, const char* name) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, &exported<body>, nullptr, &function);
  exports.Set(name, Napi::Value(env, function));
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  const Level level = active_level();
  cpu::caches();  // a setting that is malformed is found here, and not by the first product
  env.SetInstanceData<Instance>(new Instance(env));
  define<empty>(env, exports, "empty");
  define<view>(env, exports, "view");
  define<release>(env, exports, "release");
  define<release_collected>(env, exports, "releaseCollected");
  define<is_shared>(env, exports, "isShared");
  define<write>(env, exports, "write");
  define<read>(env, exports, "read");
  define<read_sync>(env, exports, "readSync");
  define<transfer>(env, exports, "transfer");
  define<synchronize>(env, exports, "synchronize");
  define<synchronize_sync>(env, exports, "synchronizeSync");
  define<memory_stats>(env, exports, "memoryStats");
  define<reset_peak>(env, exports, "resetPeak");
  define<empty_cache>(env, exports, "emptyCache");
  define<set_memory_limit>(env, exports, "setMemoryLimit");
  define<records>(env, exports, "records");
  define<begin_capture>(env, exports, "beginCapture");
  define<end_capture>(env, exports, "endCapture");
  define<cancel_capture>(env, exports, "cancelCapture");
  define<replay>(env, exports, "replay");
  define<release_graph>(env, exports, "releaseGraph");
  define<set_threads>(env, exports, "setNumThreads");
  define<tf32>(env, exports, "tf32");
  define<engine>(env, exports, "engine");
  define<set_error_factory>(env, exports, "setErrorFactory");
  for (const Kernel& kernel : kernels(level)) {
    napi_value function;
    napi_create_function(env, kernel.name, NAPI_AUTO_LENGTH, kernel.callback,
                         const_cast<Kernel*>(&kernel), &function);
    exports.Set(kernel.name, Napi::Value(env, function));
  }
  return exports;
}

}  // namespace
}  // namespace emulsion::binding

static Napi::Object initialize_emulsion(Napi::Env env, Napi::Object exports) {
  try {
    return emulsion::binding::initialize(env, exports);
  } catch (const emulsion::Error& error) {
    throw Napi::Error::New(env, error.what());
  }
}

NODE_API_MODULE(emulsion, initialize_emulsion)
