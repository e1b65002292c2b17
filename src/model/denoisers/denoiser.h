#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/samplers/sampler.h"
#include "model/transformers/parked_rows.h"

namespace darkroom {

// What a job asks its pictures to show, and their size in latents.
struct ConditioningRequest {
  // Whose prompt it is; nothing of it may be reused for another tag.
  uint64_t tenant_tag = 0;
  std::string prompt;
  std::string negative_prompt;
  // Both branches of classifier-free guidance are computed.
  bool guided = false;
  // 0: the model's longest.
  int sequence_length_max = 0;
  int latent_height = 0;
  int latent_width = 0;
};

// A request as its family's transformer takes it, on the device: made once, read in every step.
class Conditioning {
 public:
  virtual ~Conditioning() = default;
  // Overwrites what it knows of the prompt: another tenant is next.
  virtual void Wipe(Ops& ops, Stream& stream) = 0;
};

// One job's part in a packed step. Pointers are device memory, valid while the step runs.
struct StepJob {
  // Unlike that of any job with another conditioning: unchanged batches need not be copied again.
  uint64_t identity = 0;
  const Conditioning* conditioning = nullptr;  // from this denoiser
  LatentView latents{};                        // f32 [channels, height, width]; read and written
  Evaluation evaluation;
  // Classifier-free guidance; above 1 a job is two sequences, conditional first.
  float cfg_scale = 1;
  // The guidance that is distilled into the model, where it is.
  float distilled_guidance = 1;
  float* history = nullptr;   // as latents; where the sampler keeps one
  float* denoised = nullptr;  // as latents; written with the clean estimate, if given
  // Where its activations lie between two parts of a step, f32 [RowsOf, width].
  float* parked = nullptr;
  // Inpainting; all three or none. See SamplerUpdate.
  const float* mask = nullptr;
  const float* known = nullptr;
  const float* noise = nullptr;

  bool guided() const { return cfg_scale > 1; }
};

// The sampler's part of a step for a job whose branches begin at these rows of the packed model
// output; `unconditional_row` is -1 without guidance.
SamplerUpdate MakeUpdate(const StepJob& job, int32_t conditional_row, int32_t unconditional_row);

// A family's transformer with all that is needed to run it on jobs of any size, noise level and
// guidance, packed into one batch, and to apply each job's sampler step.
//
// The bits of a job depend on the job alone: rows and sequences are independent in every op, and
// padding is never read.
//
// Thread: one at a time. Run does not allocate once the largest batch was seen.
class Denoiser {
 public:
  virtual ~Denoiser() = default;

  // The second pass of loading: packs the tensors that the parts took when they were made. Sizes
  // can be asked before, so that a model that does not fit is refused before it takes memory.
  virtual absl::Status Load(DType compute, Stream& stream) = 0;

  virtual int latent_channels() const = 0;
  // Latents of one token, in each direction.
  virtual int patch() const = 0;
  // Transformer blocks: the segments of a step. They take about equally long.
  virtual int layers() const = 0;
  // Features of a row between two blocks.
  virtual int64_t width() const = 0;
  // Rows of conditioning that come with every sequence; the most there can be.
  virtual int text_tokens_max() const = 0;

  // INVALID_ARGUMENT where the prompt is none that this model takes.
  virtual absl::StatusOr<std::unique_ptr<Conditioning>> Encode(const ConditioningRequest& request,
                                                               Stream& stream) = 0;

  // Rows that a job takes in a packed step, text included.
  virtual int64_t RowsOf(const StepJob& job) const = 0;
  // Device memory for a step of so many rows and sequences.
  virtual size_t WorkspaceBytes(int64_t rows, int64_t sequences) const = 0;

  // A part of a step: from the rows that `parked` holds, unless it begins with the first block, and
  // back to there, unless it ends with the last, after which the sampler steps. Bits are those of
  // the whole step, whoever the company in each part. Done when it returns. A status other than OK
  // is the device's failure.
  virtual absl::Status RunBlocks(absl::Span<const StepJob> jobs, BlockRange blocks,
                                 Stream& stream) = 0;
  absl::Status Run(absl::Span<const StepJob> jobs, Stream& stream) {
    return RunBlocks(jobs, {0, layers()}, stream);
  }
};

}  // namespace darkroom
