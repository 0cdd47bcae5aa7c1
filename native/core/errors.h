// Typed errors. Every failure below the binding is an Error with a code; the binding turns it into
// a JavaScript error of the same code, so that callers can tell a wrong argument from a lack of
// memory.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace emulsion {

enum class ErrorCode {
  invalid_argument,
  out_of_memory,
  disposed,
  index_out_of_range,
  unsupported,
  internal
};

inline const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "ERR_INVALID_ARGUMENT";
    case ErrorCode::out_of_memory: return "ERR_OUT_OF_MEMORY";
    case ErrorCode::disposed: return "ERR_DISPOSED";
    case ErrorCode::index_out_of_range: return "ERR_INDEX_OUT_OF_RANGE";
    case ErrorCode::unsupported: return "ERR_UNSUPPORTED";
    case ErrorCode::internal: return "ERR_INTERNAL";
  }
  return "ERR_INTERNAL";
}

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

template <class... Parts>
[[noreturn, gnu::noinline, gnu::cold]] void fail(ErrorCode code, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(code, message.str());
}

// Asserts a kernel's contract. The TypeScript layer has already given the friendly message; this
// one only keeps a wrong direct call from touching memory it does not own.
#define EMULSION_CHECK(condition, ...)                                        \
  do {                                                                        \
    if (__builtin_expect(!(condition), 0))                                    \
      ::emulsion::fail(::emulsion::ErrorCode::invalid_argument, __VA_ARGS__); \
  } while (0)

}  // namespace emulsion
