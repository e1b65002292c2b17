#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "darkroom/pipeline.h"
#include "model/autoencoders/autoencoder_kl_decoder.h"
#include "model/autoencoders/autoencoder_kl_encoder.h"
#include "model/denoisers/denoiser.h"
#include "model/parked_memory.h"
#include "model/samplers/sampler.h"

namespace darkroom {

// Everything a DiffusionPipeline is made of, loaded and checked.
struct DiffusionPipelineParts {
  std::unique_ptr<Denoiser> denoiser;
  std::unique_ptr<AutoencoderKlDecoder> decoder;
  std::unique_ptr<AutoencoderKlEncoder> encoder;  // none: no picture to start from
  Samplers samplers;                              // the default first
  v1::Model model;
  v1::Numerics numerics;
  int slots = 1;
  // Rows of the largest packed step; one job of the largest size fits, with guidance.
  int64_t step_rows_max = 0;
  // Rows of jobs that wait inside a step: every slot may hold one of the largest.
  int64_t parked_rows_max = 0;
  // Report a hash of the latents after every step.
  bool hash_latents = false;
};

// A latent diffusion pipeline of any family: slots that hold jobs' latents, and the stages that run
// on them. What a prompt means and how a step is computed is the denoiser's.
//
// A job that comes to Denoise without conditioning is encoded there, so that a resumed job need not
// be encoded again. Plans that exceed step_rows_max run as several packed steps, which changes no
// bits.
class DiffusionPipeline : public Pipeline {
 public:
  // `ops` must outlive the pipeline.
  DiffusionPipeline(DiffusionPipelineParts parts, Ops& ops);

  const v1::Model& model() const override { return parts_.model; }
  const v1::Numerics& numerics() const override { return parts_.numerics; }
  int32_t token_pixels() const override { return parts_.model.limits().size_multiple_of(); }
  int32_t blocks() const override { return parts_.denoiser->layers(); }
  int64_t parked_bytes() const override { return static_cast<int64_t>(parked_.bytes()); }

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
    ConditioningRequest request;
    double guidance_scale = 1;
    double true_cfg_scale = 1;
    const Sampler* sampler = nullptr;
    Schedule schedule;
    int steps_done = 0;
    // Of the step that is under way; its `begun` are the values that it began with.
    int blocks_done = 0;
    StepJob begun;
    int latent_height = 0;
    int latent_width = 0;
    // f32 [channels, height, width], device; `history` where the sampler keeps one.
    std::unique_ptr<DeviceBuffer> latents, history;
    std::unique_ptr<Conditioning> conditioning;
    // With an initial picture: its pixels until they are encoded, the random numbers of the
    // encoder's distribution, and the starting noise, host memory.
    JobInputs inputs;
    std::vector<float> posterior_noise, start_noise;
    // Inpainting: what is kept (latents of the picture), its noise, and the mask [height, width].
    std::unique_ptr<DeviceBuffer> known, noise, mask;
    bool awaits_image = false;

    int evaluations() const { return static_cast<int>(schedule.evaluations.size()); }
  };
  // A job of a plan that passed its checks.
  struct Ready {
    int index = 0;
    Slot* slot = nullptr;
    StepJob job;
  };

  absl::Status FillLatents(const v1::OpenSlot& request, absl::Span<const Payload> tensors,
                           Slot& slot);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> AllocateLatents(size_t bytes);
  absl::Status CopyIn(DeviceBuffer& to, const void* from, size_t bytes);
  int factor() const { return parts_.decoder->config().factor(); }
  size_t LatentElements(const Slot& slot) const;
  LatentView View(const Slot& slot) const;
  absl::StatusOr<std::string> Read(DeviceBuffer& buffer);

  absl::StatusOr<Slot*> FindSlot(const v1::PlanJob& job);
  absl::Status EncodeSlot(Slot& slot);
  absl::Status EncodeSlotImage(Slot& slot);
  absl::Status FillMask(Slot& slot);
  absl::StatusOr<Ready> Prepare(const v1::BatchPlan& plan, int index);
  absl::Status CheckPlanJob(const v1::BatchPlan& plan, const v1::PlanJob& job,
                            const Slot& slot) const;
  BlockRange RangeOf(const v1::BatchPlan& plan) const;
  absl::Status CheckRange(BlockRange range, const v1::PlanJob& job, const Slot& slot) const;
  // Guidance and noise level of the step that is to begin.
  absl::Status BeginStep(const v1::PlanJob& job, const Slot& slot, StepJob& step) const;
  absl::Status SetGuidance(const v1::PlanJob& job, const Slot& slot, StepJob& step) const;
  absl::Status RunPass(const v1::BatchPlan& plan, absl::Span<const Ready> pass,
                       absl::Span<JobOutcome> outcomes);
  absl::Status FinishStep(const v1::PlanJob& job, const Slot& slot, JobOutcome& outcome);
  absl::Status PutPreview(const v1::PlanJob& job, const Slot& slot, JobOutcome& outcome);
  absl::Status DecodeSlot(const Slot& slot, JobOutcome& outcome);

  DiffusionPipelineParts parts_;
  Ops& ops_;
  std::unique_ptr<Stream> stream_;
  std::vector<Slot> slots_;
  ParkedMemory parked_;
  uint64_t identities_ = 0;
  std::vector<StepJob> step_jobs_;  // of the running pass
  // Clean estimates for previews, by slot; allocated when the first is asked for.
  std::vector<std::unique_ptr<DeviceBuffer>> denoised_;
};

}  // namespace darkroom
