#include "report.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include "machine.h"

namespace emulsion::emulator {
namespace {

const char anchor = 0;

const void* offset_in_image(const void* site) {
  Dl_info info;
  if (!site || !dladdr(site, &info)) return nullptr;
  return reinterpret_cast<const void*>(static_cast<const char*>(site) -
                                       static_cast<const char*>(info.dli_fbase));
}

std::string look_up(const void* site) {
  Dl_info info;
  if (!site || !dladdr(site, &info) || !info.dli_fname) return "an unknown place";
  const auto offset = reinterpret_cast<uintptr_t>(offset_in_image(site)) - 1;
  char command[4200];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%zx 2>/dev/null", info.dli_fname,
                static_cast<size_t>(offset));
  std::string text;
  int frames = 0;
  if (FILE* pipe = popen(command, "r")) {
    char line[1024];
    while (std::fgets(line, sizeof line, pipe)) {
      std::string frame = line;
      if (const auto end = frame.find_first_of(" \n"); end != std::string::npos) frame.resize(end);
      // How launches call kernels is nobody's concern.
      if (frame.find("/include/cuda/launch.h") != std::string::npos) break;
      if (frames == 4 || frame.find("??") != std::string::npos) continue;
      text += (frames++ ? ", called at " : "") + short_path(frame);
    }
    pclose(pipe);
  }
  if (!frames) {
    char address[64];
    std::snprintf(address, sizeof address, "code address 0x%zx (addr2line of binutils names lines)",
                  static_cast<size_t>(offset));
    return address;
  }
  return text;
}

struct Image {
  const char *begin = nullptr, *end = nullptr;
};

Image find_image() {
  Image image;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        const char *begin = nullptr, *end = nullptr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD) continue;
          const char* from = reinterpret_cast<const char*>(info->dlpi_addr + part.p_vaddr);
          if (!begin || from < begin) begin = from;
          if (!end || from + part.p_memsz > end) end = from + part.p_memsz;
        }
        if (&anchor < begin || &anchor >= end) return 0;
        *static_cast<Image*>(result) = {begin, end};
        return 1;
      },
      &image);
  return image;
}

}  // namespace

std::string short_path(const std::string& path) {
  static const std::string here = [] {
    std::unique_ptr<char, void (*)(void*)> name(getcwd(nullptr, 0), std::free);
    return std::string(name ? name.get() : "") + "/";
  }();
  return path.starts_with(here) ? path.substr(here.size()) : path;
}

std::string source_line(const void* site) {
  static std::mutex mutex;
  static auto& known = *new std::map<const void*, std::string>;
  std::lock_guard lock(mutex);
  auto [entry, is_new] = known.try_emplace(site);
  if (is_new) entry->second = look_up(site);
  return entry->second;
}
bool same_place(const void* one, const void* other) {
  const AsHost host;
  return one == other || source_line(one) == source_line(other);
}

std::string function_name(const void* code) {
  Dl_info info;
  if (!dladdr(code, &info) || !info.dli_fname) return "a kernel";
  char command[4200], line[4096] = "";
  std::snprintf(command, sizeof command, "addr2line -f -C -e '%s' 0x%zx 2>/dev/null",
                info.dli_fname, reinterpret_cast<size_t>(offset_in_image(code)));
  if (FILE* pipe = popen(command, "r")) {
    if (!std::fgets(line, sizeof line, pipe)) line[0] = 0;
    pclose(pipe);
  }
  std::string name = line;
  if (const auto end = name.find('\n'); end != std::string::npos) name.resize(end);
  for (const std::string space : {"(anonymous namespace)::", "emulsion::cuda::", "emulsion::"})
    for (size_t at; (at = name.find(space)) != std::string::npos;) name.erase(at, space.size());
  return name.empty() || name[0] == '?' ? "a kernel" : name;
}

uint32_t compact_site(const void* site) {
  return static_cast<uint32_t>(static_cast<const char*>(site) - &anchor);
}

const void* expand_site(uint32_t site) { return &anchor + static_cast<int32_t>(site); }

bool in_image(const void* pointer) {
  static const Image image = find_image();
  const char* at = static_cast<const char*>(pointer);
  return at >= image.begin && at < image.end;
}

}  // namespace emulsion::emulator
