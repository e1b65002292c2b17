#pragma once

#include <memory>
#include <optional>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::cli {

// What a request is to be promised: its class and its deadline.
struct PromiseFlags {
  std::string service_class;
  std::optional<double> deadline_seconds;
};

void AddPromiseOptions(CLI::App* command, const std::shared_ptr<PromiseFlags>& flags);

// INVALID_ARGUMENT (FLAG_INVALID). `now`: what the deadline is counted from.
absl::Status FillPromise(const PromiseFlags& flags, absl::Time now, v1::GenerateRequest& request);

}  // namespace darkroom::cli
