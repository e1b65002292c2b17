#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::cli {

// How pictures are sampled, as every command that generates some takes it. What is not given is the
// model's default.
struct SamplingFlags {
  std::optional<int32_t> steps;
  std::optional<int64_t> seed;
  std::string size;
  std::optional<double> guidance_scale;
  std::string negative_prompt;
  std::optional<double> true_cfg_scale;
  std::string sampler;
  int32_t max_sequence_length = 0;
  std::string noise_dtype;
};

// Adds them to `command`; `seed_help` says what the seed is for there.
void AddSamplingOptions(CLI::App* command, const std::string& seed_help,
                        const std::shared_ptr<SamplingFlags>& flags);

// Writes them into `request`. INVALID_ARGUMENT (FLAG_INVALID).
absl::Status FillSampling(const SamplingFlags& flags, v1::GenerateRequest& request);

// The command line itself is wrong: INVALID_ARGUMENT (FLAG_INVALID).
absl::Status UsageError(const std::string& message);

}  // namespace darkroom::cli
