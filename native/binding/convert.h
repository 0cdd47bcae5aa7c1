// From JavaScript arguments to a kernel's C++ signature, deduced by template: a kernel's row in
// ops.cc is its whole binding. Tensors travel as ids, optional ones as null, Shape and Views as
// arrays.
#pragma once

#include <cmath>
#include <tuple>
#include <type_traits>
#include <utility>

#include "binding/instance.h"
#include "ops/kernels.h"

namespace emulsion::binding {

// One kernel as the addon exports it: its body for the instruction-set level in use, and the CUDA
// engine's where that is compiled in.
struct Kernel {
  const char* name;
  napi_callback callback;
  void* cpu;
  void* cuda;

  void* body(const Device& device) const {
    void* found = device.engine() == Engine::cuda ? cuda : cpu;
    if (!found) fail(ErrorCode::unsupported, "runs on the CPU alone, not on ", device.name());
    return found;
  }
};

// Where a call's arguments come from and which device its tensors live on.
class Arguments {
 public:
  Arguments(napi_env env, napi_value* values, size_t count, Instance& owner)
      : env_(env), values_(values), count_(count), owner_(owner) {}

  Device& device() const {
    EMULSION_CHECK(device_, "at least one tensor is needed");
    return *device_;
  }

  template <class T>
  T get(size_t position) {
    EMULSION_CHECK(position < count_, "expected at least ", position + 1, " arguments, got ",
                   count_);
    return convert<T>(values_[position], position);
  }

 private:
  template <class T>
  T convert(napi_value value, size_t position) {
    if constexpr (std::is_same_v<T, View>) {
      return view(value, position);
    } else if constexpr (std::is_same_v<T, double>) {
      return number(value, position);
    } else if constexpr (std::is_same_v<T, int64_t>) {
      const double real = number(value, position);
      EMULSION_CHECK(real == std::floor(real) && std::fabs(real) <= 9007199254740992.0, "argument ",
                     position, ": expected an integer, got ", real);
      return static_cast<int64_t>(real);
    } else if constexpr (std::is_same_v<T, bool>) {
      bool result = false;
      EMULSION_CHECK(napi_get_value_bool(env_, value, &result) == napi_ok, "argument ", position,
                     ": expected a boolean");
      return result;
    } else if constexpr (std::is_same_v<T, Shape>) {
      Shape shape;
      each(value, position, Shape::max_rank,
           [&](napi_value item) { shape.push_back(convert<int64_t>(item, position)); });
      return shape;
    } else {
      static_assert(std::is_same_v<T, Views>,
                    "kernels take View, Views, Shape, double, int64_t and bool");
      Views views;
      each(value, position, 1 << 20,
           [&](napi_value item) { views.push_back(view(item, position)); });
      return views;
    }
  }

  double number(napi_value value, size_t position) {
    double result = 0;
    EMULSION_CHECK(napi_get_value_double(env_, value, &result) == napi_ok, "argument ", position,
                   ": expected a number");
    return result;
  }

  View view(napi_value value, size_t position) {
    napi_valuetype type;
    napi_typeof(env_, value, &type);
    if (type == napi_null || type == napi_undefined) return {};
    EMULSION_CHECK(type == napi_number, "argument ", position, ": expected a tensor's id or null");
    Handles::Slot* slot = owner_.handles.find(number(value, position));
    if (!slot) fail(ErrorCode::disposed, "argument ", position, ": no live tensor has this id");
    EMULSION_CHECK(!device_ || device_ == slot->storage->device, "argument ", position,
                   ": tensors are on different devices");
    device_ = slot->storage->device;
    owner_.graphs.use(slot->storage);
    return slot->view;
  }

  template <class Body>
  void each(napi_value value, size_t position, uint32_t limit, Body&& body) {
    bool is_array = false;
    napi_is_array(env_, value, &is_array);
    EMULSION_CHECK(is_array, "argument ", position, ": expected an array");
    uint32_t length = 0;
    napi_get_array_length(env_, value, &length);
    EMULSION_CHECK(length <= limit, "argument ", position, ": at most ", limit, " items, got ",
                   length);
    for (uint32_t i = 0; i < length; ++i) {
      napi_value item;
      EMULSION_CHECK(napi_get_element(env_, value, i, &item) == napi_ok, "argument ", position,
                     ": unreadable item ", i);
      body(item);
    }
  }

  napi_env env_;
  napi_value* values_;
  size_t count_;
  Instance& owner_;
  Device* device_ = nullptr;
};

template <class Function>
struct Caller;

template <class... Parameters>
struct Caller<void (*)(Parameters...)> {
  using Body = void (*)(Parameters...);

  static napi_value call(napi_env env, napi_callback_info info) {
    return guarded(env, [&]() -> napi_value {
      constexpr size_t parameters = sizeof...(Parameters);
      napi_value values[parameters];
      size_t count = parameters;
      void* data = nullptr;
      napi_get_cb_info(env, info, &count, values, nullptr, &data);
      enqueue(env, *static_cast<const Kernel*>(data), values, std::min(count, parameters),
              std::index_sequence_for<Parameters...>());
      return nullptr;
    });
  }

 private:
  template <size_t... Positions>
  static void enqueue(napi_env env, const Kernel& kernel, napi_value* values, size_t count,
                      std::index_sequence<Positions...>) {
    try {
      Arguments arguments(env, values, count, instance(env));
      // Braces fix the order of conversion: errors name the first bad argument.
      std::tuple<std::decay_t<Parameters>...> converted{
          arguments.get<std::decay_t<Parameters>>(Positions)...};
      Device& device = arguments.device();
      Body body = reinterpret_cast<Body>(kernel.body(device));
      device.submit(kernel.name, Task([body, converted = std::move(converted)]() mutable {
                      body(std::get<Positions>(converted)...);
                    }));
    } catch (const Error& error) {
      const std::string text = error.what();
      if (text.rfind(kernel.name, 0) == 0) throw;
      throw Error(error.code(), std::string(kernel.name) + ": " + text);
    }
  }
};

}  // namespace emulsion::binding
