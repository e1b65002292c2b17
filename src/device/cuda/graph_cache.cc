#include "device/cuda/graph_cache.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "device/cuda/cuda_stream.h"
#include "device/limits.h"
#include "spdlog/spdlog.h"

namespace darkroom::cuda {

absl::Status GraphCache::Run(std::string_view key, CudaStream& stream,
                             absl::FunctionRef<absl::Status()> work) {
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    if (absl::Status status = MakeRoom(stream); !status.ok()) return status;
    entries_[std::string(key)].used = ++uses_;
    return work();
  }
  Entry& entry = found->second;
  entry.used = ++uses_;
  if (!entry.graph.has_value() && !entry.refused) {
    auto recorded = CudaGraph::Capture(stream, work);
    if (recorded.ok()) {
      entry.graph = *std::move(recorded);
    } else {
      entry.refused = true;
      spdlog::warn("a step's launches go one by one, since they cannot be recorded: {}",
                   recorded.status().ToString());
    }
  }
  return entry.graph.has_value() ? entry.graph->Launch(stream) : work();
}

absl::Status GraphCache::MakeRoom(CudaStream& stream) {
  if (entries_.size() < kGraphsMax) return absl::OkStatus();
  const auto oldest = std::min_element(
      entries_.begin(), entries_.end(),
      [](const auto& one, const auto& other) { return one.second.used < other.second.used; });
  // It may still be running.
  if (oldest->second.graph.has_value()) {
    if (absl::Status status = stream.Synchronize(); !status.ok()) return status;
  }
  entries_.erase(oldest);
  return absl::OkStatus();
}

size_t GraphCache::graphs() const {
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& one) {
    return one.second.graph.has_value();
  }));
}

}  // namespace darkroom::cuda
