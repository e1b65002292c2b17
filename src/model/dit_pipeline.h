#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "darkroom/pipeline.h"
#include "model/autoencoders/autoencoder_kl.h"
#include "model/class_names.h"
#include "model/samplers/ddim.h"
#include "model/transformers/dit.h"
#include "model/transformers/dit_step.h"

namespace darkroom {

// Everything a DitPipeline is made of, loaded and checked.
struct DitPipelineParts {
  std::unique_ptr<DitTransformer> transformer;
  std::unique_ptr<AutoencoderKlDecoder> decoder;
  DdimSampler sampler{DdimConfig()};
  ClassNames classes;
  v1::Model model;
  v1::Numerics numerics;
  int slots = 1;
  // Rows of the largest packed step; two sequences of the largest size fit.
  int64_t step_rows_max = 0;
  // Report a hash of the latents after every step.
  bool hash_latents = false;
};

// diffusers' DiTPipeline: class-conditional pictures. A prompt is the name of a class.
//
// Encode resolves the prompt and gathers the label embeddings of every block; a job that comes to
// Denoise without it is encoded there, so that a resumed job need not be encoded again. Plans that
// exceed step_rows_max run as several packed steps, which changes no bits.
class DitPipeline : public Pipeline {
 public:
  // `ops` must outlive the pipeline.
  DitPipeline(DitPipelineParts parts, Ops& ops);

  const v1::Model& model() const override { return parts_.model; }
  const v1::Numerics& numerics() const override { return parts_.numerics; }
  int32_t token_pixels() const override { return parts_.model.limits().size_multiple_of(); }

  absl::Status Open(const v1::OpenSlot& request, absl::Span<const Payload> checkpoint_tensors,
                    const JobInputs& inputs) override;
  void Close(uint32_t slot, bool zero) override;
  absl::Status Encode(const v1::BatchPlan& plan, absl::Span<const int> live,
                      absl::Span<JobOutcome> outcomes) override;
  absl::Status EncodeImage(const v1::BatchPlan& plan, absl::Span<const int> live,
                           absl::Span<JobOutcome> outcomes) override;
  absl::Status Denoise(const v1::BatchPlan& plan, absl::Span<const int> live,
                       absl::Span<JobOutcome> outcomes) override;
  absl::Status Decode(const v1::BatchPlan& plan, absl::Span<const int> live,
                      absl::Span<JobOutcome> outcomes) override;

 private:
  struct Slot {
    bool open = false;
    // Unlike any other opening's, of this or another slot.
    uint64_t identity = 0;
    std::string prompt;
    double guidance_scale = 1;
    std::vector<int> timesteps;
    int steps_done = 0;
    int latent_height = 0;
    int latent_width = 0;
    std::unique_ptr<DeviceBuffer> latents;  // f32 [channels, height, width]
    std::shared_ptr<const std::vector<float>> positions;
    bool encoded = false;
    std::vector<float> labels;  // [layers, dim]
  };
  // A job of a plan that passed its checks.
  struct Ready {
    int index;
    Slot* slot;
    DitStepJob job;
  };

  absl::Status CheckOpen(const v1::OpenSlot& request) const;
  absl::Status CheckCheckpoint(const v1::OpenSlot& request,
                               absl::Span<const Payload> tensors) const;
  absl::Status FillLatents(const v1::OpenSlot& request, absl::Span<const Payload> tensors,
                           Slot& slot);
  std::shared_ptr<const std::vector<float>> Positions(int latent_size);
  LatentView View(const Slot& slot) const;
  size_t LatentBytes(const Slot& slot) const;
  absl::StatusOr<std::string> ReadLatents(const Slot& slot);

  absl::StatusOr<Slot*> FindSlot(const v1::PlanJob& job);
  absl::Status EncodeSlot(Slot& slot);
  absl::StatusOr<Ready> Prepare(const v1::BatchPlan& plan, int index);
  absl::StatusOr<StepCoefficients> StepFor(const v1::PlanJob& job, const Slot& slot,
                                           float& timestep) const;
  absl::Status RunPass(const v1::BatchPlan& plan, absl::Span<const Ready> pass,
                       absl::Span<JobOutcome> outcomes);
  absl::Status FinishStep(const v1::PlanJob& job, const Slot& slot, JobOutcome& outcome);
  absl::Status DecodeSlot(const Slot& slot, JobOutcome& outcome);

  DitPipelineParts parts_;
  Ops& ops_;
  std::unique_ptr<Stream> stream_;
  DitStep step_;
  std::vector<Slot> slots_;
  uint64_t identities_ = 0;
  std::vector<DitStepJob> step_jobs_;  // of the running pass
  std::vector<float> null_labels_;     // [layers, dim]
  // By latent size; a table lives as long as a slot uses it.
  std::map<int, std::weak_ptr<const std::vector<float>>> positions_;
};

}  // namespace darkroom
