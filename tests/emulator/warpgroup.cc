// wgmma: four warps multiply from shared memory, beside their threads. What the accumulators will
// be is kept apart until the wait that retires them; until then they read as NaN.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/dtype.h"
#include "machine.h"
#include "report.h"

namespace emulsion::emulator {
namespace {

constexpr int group_size = 128, rows = 64, most_depth = 16;
constexpr size_t most_groups = 16;  // whose ends a warpgroup remembers

WarpGroup& group_of(const Thread& thread) {
  return machine->block.groups[static_cast<size_t>(thread.number / group_size)];
}

// Where register i of a lane lies in [64, columns].
size_t place(int lane, int i, int columns) {
  const int g = lane % 32 / 4, t = lane % 4;
  const int row = lane / 32 * 16 + g + 8 * (i / 2 % 2), column = i / 4 * 8 + 2 * t + i % 2;
  return static_cast<size_t>(row * columns + column);
}

float widened(const unsigned char* from, Operands::Type type) {
  if (type == Operands::tf32) {
    uint32_t bits;
    std::memcpy(&bits, from, 4);
    bits &= 0xffffe000u;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, from, 2);
  return type == Operands::bfloat ? to_float(bfloat16{bits}) : to_float(float16{bits});
}

// The fields of a matrix descriptor, and where it says that elements lie.
struct Descriptor {
  explicit Descriptor(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4),
        base(static_cast<int>(bits >> 49 & 7)),
        swizzle((bits >> 62) == 0 ? 0 : 256 >> (bits >> 62)) {}

  // Of the 16 bytes that hold (mn, k); transposed: mn is the contiguous side.
  uint32_t chunk(int mn, int k, int size, bool transposed) const {
    const auto i = static_cast<uint32_t>(mn), j = static_cast<uint32_t>(k);
    const auto bytes = static_cast<uint32_t>(size), per_chunk = 16 / bytes;
    const auto span = static_cast<uint32_t>(swizzle);
    uint32_t address = start;
    if (!transposed)
      address += span ? i / 8 * stride + i % 8 * span + j * bytes
                      : i / 8 * stride + i % 8 * 16 + j / per_chunk * leading;
    else if (span)
      address +=
          i / (span / bytes) * leading + i % (span / bytes) * bytes + j / 8 * stride + j % 8 * span;
    else
      address += i / per_chunk * stride + j % 8 * 16 + j / 8 * leading;
    return swizzled(address, swizzle);
  }

  uint32_t start, leading, stride;
  int base, swizzle;
};

// values [k][mn] or [mn][k] of an operand in shared memory.
template <class Set>
void fetch(const Moment& agent, uint64_t bits, int extent, int depth, Operands::Type type,
           bool transposed, const void* site, Set set) {
  const Descriptor descriptor(bits);
  const int size = type == Operands::tf32 ? 4 : 2, per_chunk = 16 / size;
  const int outer = transposed ? depth : extent, inner = transposed ? extent : depth;
  for (int i = 0; i < outer; ++i)
    for (int j = 0; j < inner; j += per_chunk) {
      const uint32_t at =
          transposed ? descriptor.chunk(j, i, size, true) : descriptor.chunk(i, j, size, false);
      if (at + 16 > SharedMemory::capacity)
        stop("a matrix descriptor that leads out of shared memory, ", site);
      access_as_agent(agent, at, 16, Kind::read, site);
      const auto* from = reinterpret_cast<const unsigned char*>(machine->shared.at(at));
      for (int e = 0; e < per_chunk; ++e) {
        const float value = widened(from + e * size, type);
        if (transposed)
          set(j + e, i, value);
        else
          set(i, j + e, value);
      }
    }
}

#if defined(__x86_64__)
__attribute__((target_clones("arch=haswell", "default")))
#endif
void accumulate(float* sums, const float* a, const float* b, int columns, int depth) {
  for (int i = 0; i < rows; ++i)
    for (int k = 0; k < depth; ++k) {
      const float value = a[i * most_depth + k];
      for (int j = 0; j < columns; ++j) sums[i * columns + j] += value * b[k * columns + j];
    }
}

// What all four warps know.
Moment moment_of_group(const Thread& one, size_t number) {
  const std::vector<Thread>& threads = machine->block.threads;
  const size_t first = number * group_size;
  Knowledge common;
  for (size_t warp = 0; warp < 4; ++warp) {
    Knowledge knows(agents + threads.size());
    publish(knows, threads[first + warp * warp_size]);
    if (common.empty()) common = knows;
    for (size_t i = 0; i < common.size(); ++i)
      common[i].time = std::min(common[i].time, knows[i].time);
  }
  Moment agent;
  agent.clock = ++machine->clock;
  agent.floor = one.now.floor;
  agent.id = static_cast<uint16_t>(product_agent + number);
  agent.knows = Known(std::move(common));
  return agent;
}

void compute(WarpGroup& group, const void* site) {
  const auto number = static_cast<size_t>(&group - machine->block.groups.data());
  const auto* all = reinterpret_cast<const Operands* const*>(group.lanes);
  const Operands& first = *all[0];
  const Moment agent = moment_of_group(*current, number);
  const int depth = first.type == Operands::tf32 ? 8 : 16, columns = first.columns;
  float *a = machine->group_a, *b = machine->group_b;
  for (const Operands* const* each = all; each < all + group_size; ++each)
    if ((*each)->a != first.a || (*each)->b != first.b || (*each)->accumulate != first.accumulate ||
        (*each)->columns != columns)
      stop("threads of a warpgroup give wgmma different operands, ", site);
  if (Descriptor(first.b).base || (!first.a_registers && Descriptor(first.a).base))
    stop("a matrix descriptor with a base offset, which the emulator does not know, ", site);
  if (first.type == Operands::tf32 && (first.a_transposed || first.b_transposed))
    stop("TF32 operands of wgmma cannot be transposed, ", site);
  if (first.a_registers) {
    for (int lane = 0; lane < group_size; ++lane) {
      const int g = lane % 32 / 4, t = lane % 4, top = lane / 32 * 16 + g;
      for (int i = 0; i < 4; ++i) {
        const auto* from = reinterpret_cast<const unsigned char*>(all[lane]->a_registers + i);
        float* to = a + (top + 8 * (i % 2)) * most_depth;
        if (first.type == Operands::tf32) {
          to[t + 4 * (i / 2)] = widened(from, first.type);
        } else {
          to[2 * t + 8 * (i / 2)] = widened(from, first.type);
          to[2 * t + 8 * (i / 2) + 1] = widened(from + 2, first.type);
        }
      }
    }
  } else {
    fetch(agent, first.a, rows, depth, first.type, first.a_transposed, site,
          [&](int i, int k, float value) { a[i * most_depth + k] = value; });
  }
  fetch(agent, first.b, columns, depth, first.type, first.b_transposed, site,
        [&](int j, int k, float value) { b[k * columns + j] = value; });

  const uint32_t open = current->product_group;
  if (group.reads.empty() || group.reads.back().group != open) {
    if (group.reads.size() == most_groups) group.reads.erase(group.reads.begin());
    group.reads.push_back({open, agent.clock});
  }
  group.reads.back().clock = agent.clock;
  Product* product = nullptr;
  for (Product& each : group.products)
    if (each.lanes[0] == first.c && each.taken == 0) product = &each;
  const bool is_new = !product;
  if (is_new) product = &group.products.emplace_back();
  product->group = open;
  product->clock = agent.clock;
  product->columns = columns;
  if (is_new || !first.accumulate)
    product->sums.assign(static_cast<size_t>(rows * columns), Number{});
  for (int lane = 0; lane < group_size; ++lane) {
    product->lanes[lane] = all[lane]->c;
    for (int i = 0; i < columns / 2; ++i) {
      float& c = all[lane]->c[i];
      if (is_new && first.accumulate) product->sums[place(lane, i, columns)].value = c;
      c = NAN;
    }
  }
  accumulate(&product->sums[0].value, a, b, columns, depth);
}

}  // namespace

void check_registers(int count, const void* site) {
  if (count < 24 || count > 256 || count % 8)
    stop("setmaxnreg takes 24 to 256 registers, in eights, ", site);
  meet(all_lanes, nullptr, nullptr, site);
}

void fence_products(const void*) { current->products_fenced = true; }

void multiply_group(const Operands& operands, const void* site) {
  const auto number = static_cast<size_t>(current->number / group_size);
  Block& block = machine->block;
  if ((number + 1) * group_size > block.threads.size())
    stop("wgmma by threads that are not a whole warpgroup, ", site);
  if (!current->products_fenced) stop("wgmma without a wgmma.fence before it, ", site);
  WarpGroup& group = block.groups[number];
  if (group.arrived && group.site != site && !same_place(group.site, site))
    stop("warps of one warpgroup wait for each other at ", group.site, " and at ", site);
  group.site = site;
  group.lanes[current->number % group_size] = const_cast<Operands*>(&operands);
  if (++group.arrived < group_size) return sleep("wgmma", site);
  block.computing = true;
  compute(group, site);
  block.computing = false;
  group.arrived = 0;
  for (size_t warp = 4 * number; warp < 4 * number + 4; ++warp) {
    const bool own = warp == static_cast<size_t>(current->number / warp_size);
    wake(block.warps[warp], warp, own ? ~(1u << current->number % warp_size) : all_lanes);
  }
}

void commit_products(const void*) { ++current->product_group; }

void await_products(int pending, const void*) {
  Thread& self = *current;
  WarpGroup& group = group_of(self);
  const int lane = self.number % group_size;
  uint64_t latest = 0;
  for (size_t i = 0; i < group.products.size();) {
    Product& each = group.products[i];
    const auto retired = each.group + static_cast<uint32_t>(pending) < self.product_group;
    if (!retired || !each.lanes[lane]) {
      ++i;
      continue;
    }
    for (int k = 0; k < each.columns / 2; ++k)
      each.lanes[lane][k] = each.sums[place(lane, k, each.columns)].value;
    each.lanes[lane] = nullptr;
    latest = std::max(latest, each.clock);
    self.products_fenced = false;
    if (++each.taken < group_size) {
      ++i;
      continue;
    }
    if (i + 1 < group.products.size()) each = std::move(group.products.back());
    group.products.pop_back();
  }
  for (const WarpGroup::Reads& each : group.reads)
    if (each.group + static_cast<uint32_t>(pending) < self.product_group)
      latest = std::max(latest, each.clock);
  if (!latest) return;
  // The operands have been read: who learns that may overwrite them.
  Knowledge news(agents + machine->block.threads.size());
  news[product_agent + static_cast<size_t>(self.number / group_size)].time = latest;
  acquire(self, Known(std::move(news)));
}

}  // namespace emulsion::emulator
