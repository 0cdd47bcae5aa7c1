// Code addresses as people know them.
#pragma once

#include <cstdint>
#include <string>

namespace emulsion::emulator {

// "file:line" of the step that returns to this address, and of the calls inlined around it.
std::string source_line(const void* site);
// Whether two addresses stand for one place in the source: compilers copy loops and branches.
bool same_place(const void* one, const void* other);
std::string function_name(const void* code);
// A path below the current folder, without that folder.
std::string short_path(const std::string& path);

// Addresses of this image in 32 bits.
uint32_t compact_site(const void* site);
const void* expand_site(uint32_t site);
// Whether a pointer lies in this image: constants of the kernels.
bool in_image(const void* pointer);

}  // namespace emulsion::emulator
