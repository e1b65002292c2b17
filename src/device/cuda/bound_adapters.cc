#include "device/cuda/bound_adapters.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "device/cpu/half.h"
#include "device/cuda/element_writer.h"
#include "device/cuda/ops_internal.h"
#include "device/limits.h"

namespace darkroom::cuda {
namespace {

// The parts' `up` where the kernels look for it, zeros elsewhere.
std::vector<float> PlaceUp(absl::Span<const AdapterPart> parts, absl::Span<const int64_t> columns,
                           const kernels::AdapterPlan& plan) {
  std::vector<float> placed(static_cast<size_t>(plan.up_elements), 0.0f);
  int64_t first_column = 0;
  for (size_t part = 0; part < parts.size(); ++part) {
    const auto& [down, up, scale] = parts[part];
    const int64_t rank = up ? up.dims[1] : 0;
    for (int64_t i = 0; i < columns[part] * rank; ++i) {
      const int64_t column = first_column + i / rank;
      const auto at = plan.first_rank[part] + static_cast<int32_t>(i % rank);
      const auto& block = plan.blocks[static_cast<size_t>(column / kernels::kUpColumns)];
      placed[static_cast<size_t>(kernels::UpIndex(block, column, at))] =
          scale * cpu::ElementAt(up.data, up.dtype, i);
    }
    first_column += columns[part];
  }
  return placed;
}

}  // namespace

absl::StatusOr<BoundAdapters::Bound> BoundAdapters::Pack(absl::Span<const AdapterPart> parts,
                                                         const Weight& weight, CudaStream& stream) {
  std::vector<kernels::AdapterPartShape> shapes;
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool changed = static_cast<bool>(parts[i].down);
    shapes.push_back(
        {weight.columns[i], changed ? static_cast<int32_t>(parts[i].down.dims[0]) : 0});
  }
  const kernels::AdapterPlan plan = kernels::PlanAdapter(shapes);
  const size_t element = ByteSize(weight.compute);
  Bound bound{.rank = plan.rank};
  const std::pair<DeviceMemory*, size_t> memories[] = {
      {&bound.down, static_cast<size_t>(plan.rank * weight.in) * element},
      {&bound.up, static_cast<size_t>(plan.up_elements) * element},
      {&bound.blocks, plan.blocks.size() * sizeof(kernels::UpBlock)}};
  for (const auto& [memory, bytes] : memories) {
    auto made = DeviceMemory::Make(bytes);
    if (!made.ok()) return made.status();
    *memory = *std::move(made);
  }
  ElementWriter down(bound.down.data(), weight.compute, stream);
  absl::Status status;
  for (size_t i = 0; i < parts.size() && status.ok(); ++i) {
    if (!parts[i].down) continue;
    status = down.Append(parts[i].down);
    const int64_t padded =
        (shapes[i].rank + kernels::kRankChunk - 1) / kernels::kRankChunk * kernels::kRankChunk;
    if (status.ok()) {
      status = down.Append((padded - shapes[i].rank) * weight.in, [](int64_t) { return 0.0f; });
    }
  }
  const std::vector<float> up = PlaceUp(parts, weight.columns, plan);
  if (status.ok()) {
    status = ElementWriter(bound.up.data(), weight.compute, stream)
                 .Append(plan.up_elements, [&](int64_t i) { return up[static_cast<size_t>(i)]; });
  }
  if (status.ok()) {
    status = stream.CopyToDevice(bound.blocks.data(), plan.blocks.data(), bound.blocks.size());
  }
  if (!status.ok()) return status;
  return bound;
}

absl::Status BoundAdapters::Bind(int32_t adapter, absl::Span<const AdapterPart> parts,
                                 const Weight& weight, CudaStream& stream) {
  Bound bound;
  if (!parts.empty()) {
    auto packed = Pack(parts, weight, stream);
    if (!packed.ok()) return packed.status();
    bound = *std::move(packed);
  } else if (!bound_.contains(adapter)) {
    return absl::OkStatus();
  }
  if (table_.size() == 0) {
    auto table = DeviceMemory::Make(kAdaptersMax * sizeof(kernels::LowRank));
    if (!table.ok()) return table.status();
    table_ = *std::move(table);
  }
  const kernels::LowRank entry{.down = bound.down.data(),
                               .up = bound.up.data(),
                               .blocks = static_cast<const kernels::UpBlock*>(bound.blocks.data()),
                               .rank = bound.rank};
  absl::Status status = stream.CopyToDevice(static_cast<kernels::LowRank*>(table_.data()) + adapter,
                                            &entry, sizeof(entry));
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;
  if (parts.empty()) {
    bound_.erase(adapter);
  } else {
    bound_[adapter] = std::move(bound);
  }
  packed_ = {.matrices = static_cast<const kernels::LowRank*>(table_.data()),
             .matrix_count = kAdaptersMax,
             .dtype = KernelDType(weight.compute)};
  for (const auto& [number, one] : bound_) packed_.rank_max = std::max(packed_.rank_max, one.rank);
  return absl::OkStatus();
}

}  // namespace darkroom::cuda
