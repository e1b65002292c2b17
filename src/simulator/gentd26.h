#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom::simulator {

// One request of the trace "GenTD26" (alibaba/clusterdata, cluster-trace-v2026-GenAI, SoCC '25).
struct TraceRequest {
  int64_t created_s = 0;  // since 1970, as written, without a time zone
  uint32_t tenant = 0;    // the number in groupId
  uint32_t model = 0;     // the number in checkpoint_model_version_id
  int32_t images = 1;
  int32_t steps = 1;
  int32_t adapters = 0;
};

struct Trace {
  std::vector<TraceRequest> requests;  // by creation time
  // Lines without images, steps or tenant: requests that never reached an accelerator.
  size_t incomplete = 0;
};

// Reads the trace's table of requests. INVALID_ARGUMENT (TRACE_INVALID) names the line and what
// was expected there: a missing column, a number that is none, negative or out of range, a date
// that is none.
absl::StatusOr<Trace> ParseGentd26(std::string_view csv);

}  // namespace darkroom::simulator
