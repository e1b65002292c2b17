#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "device/cuda/cuda_graph.h"

namespace darkroom::cuda {

// The graphs of one stream by what they repeat (Ops::Replay); kGraphsMax keys, those that were used
// last. Work is launched one by one when its key is new, since memory may grow then, recorded the
// second time, and repeated from there on: recording costs the host what launching does, and the
// device goes on meanwhile, so that a new shape never waits for a graph. What cannot be recorded is
// logged once with its reason and launched one by one.
class GraphCache {
 public:
  // On `stream`, the same in every call.
  absl::Status Run(std::string_view key, CudaStream& stream,
                   absl::FunctionRef<absl::Status()> work);

  size_t keys() const { return entries_.size(); }
  size_t graphs() const;

 private:
  struct Entry {
    std::optional<CudaGraph> graph;
    bool refused = false;
    uint64_t used = 0;  // when, by `uses_`
  };
  absl::Status MakeRoom(CudaStream& stream);

  std::map<std::string, Entry, std::less<>> entries_;
  uint64_t uses_ = 0;
};

}  // namespace darkroom::cuda
