#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "device/cpu/half.h"
#include "device/cpu/live_batch.h"
#include "device/cpu/ops_internal.h"
#include "device/limits.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

// Present, a whole number of patches, and of a size whose products fit.
absl::Status CheckView(const char* op, int64_t index, const LatentView& view, int32_t patch) {
  const bool good = view.data != nullptr && view.channels >= 1 && view.channels <= kFeaturesMax &&
                    view.height >= 1 && view.width >= 1 && view.height <= kRowsMax &&
                    view.width <= kRowsMax && view.height % patch == 0 && view.width % patch == 0 &&
                    int64_t{view.height} * view.width / patch / patch <= kRowsMax;
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": latents ", index, " are [", view.channels, ", ", view.height, ", ",
                   view.width, "], must be present and a multiple of the patch, ", patch));
}

void PatchifyToken(const LatentView& view, int32_t patch, int64_t token, float* features) {
  const int64_t across = view.width / patch;
  const int64_t top = token / across * patch;
  const int64_t left = token % across * patch;
  for (int64_t c = 0; c < view.channels; ++c) {
    for (int64_t y = 0; y < patch; ++y) {
      const float* from = view.data + (c * view.height + top + y) * view.width + left;
      std::memcpy(features, from, patch * sizeof(float));
      features += patch;
    }
  }
}

// Guided model output, sampler's step and history for one channel of one job.
void StepChannel(const SamplerStepArgs& args, const SamplerUpdate& update, int64_t channel) {
  const LatentView& latents = update.latents;
  const int64_t patch = args.patch;
  const int64_t across = latents.width / patch;
  const int64_t tokens = latents.height / patch * across;
  const int64_t features = args.model_output.dims[1];
  const auto model_at = [&](int64_t row, int64_t feature) {
    return ElementAt(args.model_output.data, args.model_output.dtype, row * features + feature);
  };
  const int64_t plane = channel * latents.height * latents.width;
  for (int64_t token = 0; token < tokens; ++token) {
    const int64_t corner = plane + token / across * patch * latents.width + token % across * patch;
    for (int64_t pixel = 0; pixel < patch * patch; ++pixel) {
      const int64_t feature = args.channels_last ? pixel * args.model_channels + channel
                                                 : channel * patch * patch + pixel;
      float model = model_at(update.conditional_row + token, feature);
      if (update.unconditional_row >= 0) {
        const float unconditional = model_at(update.unconditional_row + token, feature);
        model = unconditional + update.guidance * (model - unconditional);
      }
      const int64_t at = corner + pixel / patch * latents.width + pixel % patch;
      const float before = latents.data[at];
      float after = before * update.sample + model * update.model;
      if (update.history != nullptr) {
        float& history = update.history[at];
        after += history * update.history_in;
        history = update.history_sample * before + update.history_model * model;
      }
      if (update.mask != nullptr) {
        const float mask = update.mask[at - plane];
        float keep = update.known_weight * update.known[at];
        if (update.noise != nullptr) keep += update.noise_weight * update.noise[at];
        after = mask * after + (1.0f - mask) * keep;
      }
      if (update.denoised != nullptr) {
        update.denoised[at] = update.denoised_sample * before + update.denoised_model * model;
      }
      latents.data[at] = after;
    }
  }
}

absl::Status CheckUpdate(const SamplerStepArgs& args, int32_t job) {
  constexpr char kOp[] = "SamplerStep";
  const SamplerUpdate& update = args.updates[job];
  const LatentView& latents = update.latents;
  if (absl::Status status = CheckView(kOp, job, latents, args.patch); !status.ok()) return status;
  if (latents.channels > args.model_channels) {
    return absl::InvalidArgumentError(absl::StrCat(kOp, ": latents ", job, " have ",
                                                   latents.channels, " channels, the model gives ",
                                                   args.model_channels));
  }
  if (update.mask != nullptr && update.known == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(kOp, ": job ", job, " has a mask, but no known latents to keep"));
  }
  const int64_t tokens = int64_t{latents.height} * latents.width / args.patch / args.patch;
  const int64_t rows = args.model_output.dims[0];
  if (update.conditional_row < 0 || update.conditional_row + tokens > rows ||
      update.unconditional_row < -1 || update.unconditional_row + tokens > rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        kOp, ": job ", job, " has ", tokens, " tokens from row ", update.conditional_row,
        " and row ", update.unconditional_row, "; the model output has ", rows, " rows"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Patchify(Context& context, const PatchifyArgs& args, const PackedBatch& batch) {
  constexpr char kOp[] = "Patchify";
  if (absl::Status status = CheckPatchify(args, batch); !status.ok()) return status;
  const auto live = LiveSequences(kOp, batch);
  if (!live.ok()) return live.status();
  const int64_t features = args.tokens.dims[1];
  for (int32_t s = 0; s < live->sequences; ++s) {
    const LatentView& view = args.views[s];
    if (absl::Status status = CheckView(kOp, s, view, args.patch); !status.ok()) return status;
    const int64_t tokens = int64_t{view.height} * view.width / args.patch / args.patch;
    const int64_t rows = batch.boundaries[s + 1] - batch.boundaries[s];
    if (tokens != rows || int64_t{view.channels} * args.patch * args.patch != features) {
      return absl::InvalidArgumentError(
          absl::StrCat(kOp, ": latents ", s, " make ", tokens, " tokens of ",
                       int64_t{view.channels} * args.patch * args.patch,
                       " features, the batch has ", rows, " of ", features));
    }
  }
  if (absl::Status status = context.workspace.Reserve(features * sizeof(float)); !status.ok()) {
    return status;
  }
  const int64_t row_bytes = features * static_cast<int64_t>(ByteSize(args.tokens.dtype));
  context.pool.ParallelFor(live->sequences, [&](int64_t s, int thread) {
    float* token_features = context.workspace.thread<float>(thread);
    for (int64_t row = batch.boundaries[s]; row < batch.boundaries[s + 1]; ++row) {
      PatchifyToken(args.views[s], args.patch, row - batch.boundaries[s], token_features);
      context.kernels.convert_row(token_features, DType::kF32,
                                  args.tokens.as<char>() + row * row_bytes, args.tokens.dtype,
                                  features);
    }
  });
  return absl::OkStatus();
}

absl::Status GatherRows(Context& context, const GatherRowsArgs& args, const PackedBatch& batch) {
  if (absl::Status status = CheckGatherRows(args, batch); !status.ok()) return status;
  const auto live = LiveSequences("GatherRows", batch);
  if (!live.ok()) return live.status();
  for (int32_t s = 0; s < live->sequences; ++s) {
    if (args.sources[s] == nullptr && batch.boundaries[s + 1] > batch.boundaries[s]) {
      return absl::InvalidArgumentError(absl::StrCat("GatherRows: sources[", s, "] is missing"));
    }
  }
  const int64_t dim = args.out.dims[1];
  context.pool.ParallelFor(live->sequences, [&](int64_t s, int) {
    const int64_t rows = batch.boundaries[s + 1] - batch.boundaries[s];
    if (rows == 0) return;
    std::memcpy(args.out.as<float>() + batch.boundaries[s] * dim, args.sources[s],
                rows * dim * sizeof(float));
  });
  return absl::OkStatus();
}

// diffusers.models.embeddings.get_timestep_embedding. Rounded to f32 where it rounds, so that large
// timesteps meet the same arguments; the functions themselves are taken in float64.
absl::Status TimestepEmbedding(Context& context, const TimestepEmbeddingArgs& args,
                               const PackedBatch& batch) {
  if (absl::Status status = CheckTimestepEmbedding(args, batch); !status.ok()) return status;
  const int32_t sequences = *batch.live_sequences;
  if (sequences < 0 || sequences > batch.sequences_max) {
    return absl::InvalidArgumentError(absl::StrCat("TimestepEmbedding: live_sequences is ",
                                                   sequences, ", must be 0 to ",
                                                   batch.sequences_max));
  }
  const int64_t dim = args.out.dims[1];
  const int64_t half = dim / 2;
  const float log_period = static_cast<float>(-std::log(static_cast<double>(args.max_period)));
  const float steps = static_cast<float>(half) - args.downscale_freq_shift;
  context.pool.ParallelFor(sequences, [&](int64_t s, int) {
    float* out = args.out.as<float>() + s * dim;
    float* sines = args.flip_sin_to_cos ? out + half : out;
    float* cosines = args.flip_sin_to_cos ? out : out + half;
    for (int64_t i = 0; i < half; ++i) {
      const float exponent = log_period * static_cast<float>(i) / steps;
      const float frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
      const float angle = args.timesteps[s] * frequency;
      sines[i] = static_cast<float>(std::sin(static_cast<double>(angle)));
      cosines[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    }
    if (dim % 2 != 0) out[dim - 1] = 0.0f;
  });
  return absl::OkStatus();
}

absl::Status SamplerStep(Context& context, const SamplerStepArgs& args) {
  if (absl::Status status = CheckSamplerStep(args); !status.ok()) return status;
  int64_t channels_max = 0;
  for (int32_t job = 0; job < args.jobs; ++job) {
    if (absl::Status status = CheckUpdate(args, job); !status.ok()) return status;
    channels_max = std::max<int64_t>(channels_max, args.updates[job].latents.channels);
  }
  context.pool.ParallelFor(args.jobs * channels_max, [&](int64_t task, int) {
    const SamplerUpdate& update = args.updates[task / channels_max];
    const int64_t channel = task % channels_max;
    if (channel < update.latents.channels) StepChannel(args, update, channel);
  });
  return absl::OkStatus();
}

}  // namespace darkroom::cpu
