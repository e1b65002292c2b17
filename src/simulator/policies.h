#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "simulator/policies/darkroom_policy.h"
#include "simulator/policy.h"

namespace darkroom::simulator {

// Names that MakePolicy knows, ours first.
std::vector<std::string> PolicyNames();

// INVALID_ARGUMENT (POLICY_UNKNOWN) names those that there are. `darkroom` is ours' own settings;
// `degree`: accelerators that run each batch of those policies that keep to one degree.
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name,
                                                   const DarkroomOptions& darkroom, int degree = 1);

}  // namespace darkroom::simulator
