#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "darkroom/pipeline.h"

namespace darkroom::testing {

struct FakePipelineOptions {
  // A denoising step takes step_us + job_us * jobs + token_ns * tokens, and each of its blocks an
  // equal part of that.
  int64_t step_us = 5000;
  int32_t blocks = 1;
  int64_t job_us = 0;
  int64_t token_ns = 0;
  int64_t encode_us = 0;
  int64_t image_encode_us = 0;
  int64_t decode_us = 0;
  int64_t load_us = 0;  // none when another worker has packed the weights, which are in name only
  // Fails to load with this message, reason MODEL_INVALID.
  std::string load_error;
  // Folder in which a fault of the kind "-once" leaves a mark, so that it does not come again, not
  // even in the next process.
  std::string once_dir;
  // File to which every denoising step appends "START END\n", nanoseconds on the monotonic clock.
  std::string timeline;
  // Part of the numerics, for tests with workers of different bits.
  std::string isa = "fake";
};

// A model without weights: latents that look like noise and evolve step by step, each step a
// function of the ones before, seed, prompt, size, step index and guidance, and never of
// batch-mates; a picture made of them. Any prompt is allowed. An init image is mixed into the
// latents by strength, and it and a mask into all that follows. Pauses instead of computing.
//
// Words of a prompt that look like FAULT@PLACE make it misbehave when that job gets to PLACE: a
// step index, "open", "encode", "image" or "decode". Faults:
//   fail     the job fails (INTERNAL, FAKE_FAILURE)
//   nan      a latent becomes NaN, which the step notices: the job fails (LATENTS_NOT_FINITE)
//   throw    std::bad_alloc
//   device   the device fails: the call as a whole returns an error
//   crash    the process aborts; exit: it ends with code 3
//   hang     the call never returns
//   slow     the step takes 500 ms more
// "crash-once@3" happens only once per FakePipelineOptions::once_dir; so with every fault.
class FakePipeline final : public Pipeline {
 public:
  FakePipeline(const FakePipelineOptions& options, const LoadOptions& load);

  const v1::Model& model() const override { return model_; }
  const v1::Numerics& numerics() const override { return numerics_; }
  int32_t token_pixels() const override { return kTokenPixels; }
  int32_t blocks() const override { return options_.blocks; }
  // A byte for every latent of every job inside a step.
  int64_t parked_bytes() const override;

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

  // What the slot's memory holds, closed or not: for tests of what one tenant leaves to the next.
  const std::vector<float>& SlotMemory(uint32_t slot) const { return slots_[slot].latents; }

  static constexpr int32_t kTokenPixels = 16;
  static constexpr int32_t kLatentPixels = 8;
  static constexpr int32_t kLatentChannels = 4;

 private:
  struct Slot {
    bool open = false;
    bool encoded = false;
    v1::OpenSlot request;
    int32_t next_step = 0;
    int32_t next_block = 0;
    JobInputs inputs;
    bool image_encoded = false;
    uint64_t chain = 0;          // hash of everything that happened to the job; the sampler's state
    std::vector<float> latents;  // [4, height / 8, width / 8]
  };

  absl::Status Validate(const v1::OpenSlot& request, const JobInputs& inputs) const;
  static uint64_t StartOfChain(const v1::OpenSlot& request, const JobInputs& inputs);
  absl::Status Restore(const v1::OpenSlot& request, absl::Span<const Payload> tensors, Slot& slot);
  // Carries out the fault that the prompt asks for at `place`. Sets `job_status` for one of the
  // job, returns one of the device.
  absl::Status Misbehave(const std::string& prompt, std::string_view place,
                         absl::Status& job_status, bool* make_nan = nullptr);
  bool HappensNow(std::string_view fault, bool once, std::string_view place) const;
  // One job's part of blocks [first, last) of a step; as Misbehave.
  absl::Status RunBlocks(const v1::PlanJob& job, int32_t first, int32_t last, JobOutcome& outcome);
  static void AdvanceLatents(Slot& slot, double guidance_scale);
  static std::string Picture(const Slot& slot, int64_t width, int64_t height);
  static void FillCheckpoint(const Slot& slot, JobOutcome& outcome);
  static void FillPreview(const Slot& slot, int size_max, JobOutcome& outcome);

  const FakePipelineOptions options_;
  std::ofstream timeline_;
  v1::Model model_;
  v1::Numerics numerics_;
  std::vector<Slot> slots_;
};

// As LoadPipeline does; `path` is not read: the digest is made of the name.
absl::StatusOr<std::unique_ptr<Pipeline>> LoadFakePipeline(const FakePipelineOptions& options,
                                                           const std::string& path,
                                                           const LoadOptions& load);

}  // namespace darkroom::testing
