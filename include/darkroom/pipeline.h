#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/job_inputs.h"
#include "darkroom/ops.h"
#include "darkroom/payload.h"
#include "darkroom/v1/worker.pb.h"

namespace darkroom {

// What came of one job in one quantum.
struct JobOutcome {
  absl::Status status;
  double sigma = 0;                          // denoise: the noise level or timestep it ran at
  std::optional<v1::Checkpoint> checkpoint;  // without tensors' locations; bytes follow
  std::vector<Payload> checkpoint_tensors;   // latents, then the sampler's state
  Payload output;                            // decode: u8 [height, width, 3]
  // denoise, where the plan asks: the clean picture as estimated after this step,
  // u8 [preview_height, preview_width, 3]. Empty when the model cannot or need not.
  Payload preview;
  int32_t preview_width = 0;
  int32_t preview_height = 0;
  std::optional<uint64_t> latents_hash;
};

// A model family loaded on one rank: slots, and the stages that run on them. The worker owns
// leases, epochs and plan order; the pipeline owns tensors.
//
// Thread: the worker's executor only. Slots are 0 to slots-1. A failure of one job is its outcome's
// status and never harms its batch-mates; the returned status is the device's own failure, after
// which the worker exits.
class Pipeline {
 public:
  virtual ~Pipeline() = default;

  // Limits, defaults, classes, digest; state READY. Parameters counted.
  virtual const v1::Model& model() const = 0;
  virtual const v1::Numerics& numerics() const = 0;
  // See ModelLoaded.
  virtual int32_t token_pixels() const = 0;
  // See ModelLoaded.
  virtual int32_t blocks() const = 0;
  // What activations of jobs that wait inside a step take, memory kept for their next step
  // included.
  virtual int64_t parked_bytes() const = 0;

  // Fills a slot from noise or from a checkpoint (tensors in `checkpoint_tensors`, in the order of
  // JobOutcome). Validates everything again, the inputs' sizes too: the daemon is another process.
  // UNIMPLEMENTED (INPUTS_UNSUPPORTED) where the model takes no pictures. REQUIRES: slot closed.
  virtual absl::Status Open(const v1::OpenSlot& request,
                            absl::Span<const Payload> checkpoint_tensors,
                            const JobInputs& inputs) = 0;
  // Frees the slot. `zero` wipes its memory: the next tenant is another one.
  virtual void Close(uint32_t slot, bool zero) = 0;

  // One quantum of one stage for the jobs of `plan` whose index is in `live`; outcomes[i] belongs
  // to plan.jobs(i). A job's stages come in this order, EncodeImage only where it has an init
  // image; after a resume both encodings come again, while the latents stay the checkpoint's.
  // Where plan.segments() ends inside the step, the job's activations wait in its slot, and the
  // next plan goes on from there, with the guidance and the noise level that the step began with.
  virtual absl::Status Encode(const v1::BatchPlan& plan, absl::Span<const int> live,
                              absl::Span<JobOutcome> outcomes) = 0;
  virtual absl::Status EncodeImage(const v1::BatchPlan& plan, absl::Span<const int> live,
                                   absl::Span<JobOutcome> outcomes) = 0;
  virtual absl::Status Denoise(const v1::BatchPlan& plan, absl::Span<const int> live,
                               absl::Span<JobOutcome> outcomes) = 0;
  virtual absl::Status Decode(const v1::BatchPlan& plan, absl::Span<const int> live,
                              absl::Span<JobOutcome> outcomes) = 0;
};

// A model as one worker packed it, so that others of the same machine load it without reading or
// packing its weights again.
struct PackedModel {
  // A weights file as it was: which file that was on disk, and its content.
  struct File {
    std::string file;      // relative to the folder
    std::string identity;  // device, inode, size, times of change
    std::string sha256;    // lower-case hex
  };
  std::string key;  // model digest and precision
  std::vector<File> files;
  SharedWeights weights;
};

struct LoadOptions {
  std::string name;  // "models/{model}"
  DType precision = DType::kF32;
  int slots = 1;
  int64_t step_tokens_max = 0;  // 0: as many as the slots could need
  // From another worker, or null. Not used when another model was packed; FAILED_PRECONDITION
  // (SHARED_WEIGHTS_MISMATCH) when it was packed otherwise than this machine would: load without.
  const PackedModel* packed = nullptr;
  // Set to what was packed, empty when it was taken from `packed`. Null: not wanted, the weights
  // are this process's own.
  PackedModel* packed_out = nullptr;
  // Bytes read so far and in all; called on the loading thread.
  std::function<void(int64_t done, int64_t total)> progress;
};

// Loads a diffusers folder. Every missing, extra or misshaped tensor is listed in one
// INVALID_ARGUMENT error (reason MODEL_INVALID) with expected and found shapes; messages name files
// relative to the folder. `ops` must outlive the pipeline.
absl::StatusOr<std::unique_ptr<Pipeline>> LoadPipeline(const std::string& path,
                                                       const LoadOptions& options, Ops& ops);

}  // namespace darkroom
