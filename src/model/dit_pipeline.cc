#include "model/dit_pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/numerics.h"
#include "model/limits.h"
#include "model/noise.h"

namespace darkroom {
namespace {

constexpr std::string_view kSampler = "ddim";
constexpr int kPixelChannels = AutoencoderKlConfig::kPixelChannels;

absl::Status OutOfRange(std::string_view reason, const std::string& field,
                        const std::string& problem) {
  return Error(absl::StatusCode::kInvalidArgument, reason, absl::StrCat(field, " ", problem))
      .Field(field, problem);
}

absl::Status Unsupported(std::string_view reason, std::string_view what) {
  return Error(absl::StatusCode::kUnimplemented, reason, what);
}

// The daemon asked for something that does not fit the slot's state: its error, not a client's.
absl::Status WrongState(std::string_view reason, std::string_view what) {
  return Error(absl::StatusCode::kFailedPrecondition, reason, what);
}

// Fowler, Noll and Vo's 64-bit hash, variant 1a.
uint64_t Fnv1a64(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  return hash;
}

bool AreFinite(std::string_view latents) {
  for (size_t i = 0; i + sizeof(float) <= latents.size(); i += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, latents.data() + i, sizeof(value));
    if (!std::isfinite(value)) return false;
  }
  return true;
}

absl::Status NotFinite() {
  return Error(absl::StatusCode::kInternal, "LATENTS_NOT_FINITE",
               "the model gave values that are not numbers");
}

// Bytes as they leave the worker: large ones in a memfd, which crosses without a copy.
absl::StatusOr<Payload> MakePayload(std::string_view bytes) {
  if (bytes.size() <= model_limits::kInlineOutputBytesMax) return Payload::Copy(bytes);
  return Payload::CreateMemfd(bytes.size(), [bytes](absl::Span<char> memory) {
    std::copy(bytes.begin(), bytes.end(), memory.begin());
  });
}

absl::Status CheckSize(const v1::Model::Limits& limits, const std::string& field, int size) {
  const int multiple = limits.size_multiple_of();
  if (size >= limits.size_min() && size <= limits.size_max() && size % multiple == 0) {
    return absl::OkStatus();
  }
  const int bounded = std::clamp(size, limits.size_min(), limits.size_max());
  const int nearest = std::clamp((bounded + multiple / 2) / multiple * multiple, limits.size_min(),
                                 limits.size_max());
  return OutOfRange(
      "SIZE_UNSUPPORTED", field,
      absl::StrCat("is ", size, "; it must be a multiple of ", multiple, " from ",
                   limits.size_min(), " to ", limits.size_max(), "; nearest: ", nearest));
}

}  // namespace

DitPipeline::DitPipeline(DitPipelineParts parts, Ops& ops)
    : parts_(std::move(parts)),
      ops_(ops),
      stream_(ops.CreateStream()),
      step_(*parts_.transformer, ops),
      slots_(static_cast<size_t>(parts_.slots)) {
  const DitConfig& config = parts_.transformer->config();
  null_labels_.resize(static_cast<size_t>(config.layers * config.dim()));
  parts_.transformer->GatherLabel(config.null_class(), absl::MakeSpan(null_labels_));
}

absl::Status DitPipeline::CheckOpen(const v1::OpenSlot& request) const {
  if (request.slot() >= slots_.size()) {
    return WrongState("SLOT_INVALID", absl::StrCat("slot must be 0 to ", slots_.size() - 1));
  }
  if (slots_[request.slot()].open) return WrongState("SLOT_OPEN", "the slot is open already");
  const v1::Model::Limits& limits = parts_.model.limits();
  if (absl::Status status = CheckSize(limits, "width", request.width()); !status.ok()) {
    return status;
  }
  if (request.height() != request.width()) {
    return OutOfRange("SIZE_UNSUPPORTED", "height",
                      absl::StrCat("is ", request.height(),
                                   "; this model makes square pictures, "
                                   "so it must equal width; nearest: ",
                                   request.width()));
  }
  if (request.prompt().size() > model_limits::kPromptBytesMax) {
    return OutOfRange("PROMPT_TOO_LONG", "prompt",
                      absl::StrCat("has ", request.prompt().size(), " bytes; at most ",
                                   model_limits::kPromptBytesMax, " can be"));
  }
  // Written so that NaN is outside too.
  if (!(request.guidance_scale() >= model_limits::kGuidanceScaleMin &&
        request.guidance_scale() <= model_limits::kGuidanceScaleMax)) {
    return OutOfRange(
        "GUIDANCE_SCALE_OUT_OF_RANGE", "sampling.guidance_scale",
        absl::StrCat(
            "must be ", model_limits::kGuidanceScaleMin, " to ", model_limits::kGuidanceScaleMax,
            "; nearest: ",
            std::clamp(std::isnan(request.guidance_scale()) ? model_limits::kGuidanceScaleMin
                                                            : request.guidance_scale(),
                       model_limits::kGuidanceScaleMin, model_limits::kGuidanceScaleMax)));
  }
  if (request.seed() < 0) {
    return OutOfRange("SEED_OUT_OF_RANGE", "sampling.seed", "must be 0 to 2^63-1; nearest: 0");
  }
  if (request.steps() < 1 || request.steps() > limits.steps_max()) {
    return OutOfRange(
        "STEPS_OUT_OF_RANGE", "sampling.steps",
        absl::StrCat("is ", request.steps(), "; it must be 1 to ", limits.steps_max(),
                     "; nearest: ", std::clamp(request.steps(), 1, limits.steps_max())));
  }
  if (!request.sampler().empty() && request.sampler() != kSampler) {
    return OutOfRange("SAMPLER_UNSUPPORTED", "sampling.sampler", "must be \"ddim\"");
  }
  if (request.adapters_size() > 0) {
    return Unsupported("ADAPTERS_UNSUPPORTED", "this model takes no adapters");
  }
  return absl::OkStatus();
}

// A checkpoint is this job's own, from this or another worker; still only what fits is believed.
absl::Status DitPipeline::CheckCheckpoint(const v1::OpenSlot& request,
                                          absl::Span<const Payload> tensors) const {
  const v1::Checkpoint& checkpoint = request.checkpoint();
  if (checkpoint.numerics_id() != parts_.model.numerics_id()) {
    return WrongState("NUMERICS_MISMATCH",
                      "the checkpoint was made under another numerics_id; it can only be resumed "
                      "where the same request gives the same bits");
  }
  if (checkpoint.step() < 0 || checkpoint.step() > request.steps()) {
    return WrongState("CHECKPOINT_INVALID",
                      absl::StrCat("step is ", checkpoint.step(), " of ", request.steps()));
  }
  const int channels = parts_.transformer->config().in_channels;
  const int factor = parts_.decoder->config().factor();
  const int64_t shape[] = {channels, request.height() / factor, request.width() / factor};
  const size_t bytes = sizeof(float) * static_cast<size_t>(shape[0] * shape[1] * shape[2]);
  const v1::TensorRef& latents = checkpoint.latents();
  if (latents.dtype() != v1::DTYPE_F32 ||
      !std::equal(latents.shape().begin(), latents.shape().end(), std::begin(shape),
                  std::end(shape)) ||
      checkpoint.sampler_state_size() != 0 || checkpoint.random_counter() != 0 ||
      tensors.size() != 1 || tensors[0].size() != bytes) {
    return WrongState("CHECKPOINT_INVALID",
                      absl::StrCat("this job's checkpoint is one f32 tensor of latents [", shape[0],
                                   ", ", shape[1], ", ", shape[2], "]"));
  }
  return absl::OkStatus();
}

absl::Status DitPipeline::Open(const v1::OpenSlot& request,
                               absl::Span<const Payload> checkpoint_tensors,
                               const JobInputs& inputs) {
  if (!inputs.init_image.empty() || !inputs.mask.empty()) {
    return Unsupported("INPUTS_UNSUPPORTED", "this model takes no pictures");
  }
  if (absl::Status status = CheckOpen(request); !status.ok()) return status;
  if (request.has_checkpoint()) {
    absl::Status status = CheckCheckpoint(request, checkpoint_tensors);
    if (!status.ok()) return status;
  }
  const int factor = parts_.decoder->config().factor();
  Slot slot;
  slot.identity = ++identities_;
  slot.prompt = request.prompt();
  slot.guidance_scale = request.guidance_scale();
  slot.timesteps = parts_.sampler.Timesteps(request.steps());
  slot.latent_height = request.height() / factor;
  slot.latent_width = request.width() / factor;
  slot.positions = Positions(slot.latent_height);
  if (absl::Status status = FillLatents(request, checkpoint_tensors, slot); !status.ok()) {
    return status;
  }
  slot.open = true;
  slots_[request.slot()] = std::move(slot);
  return absl::OkStatus();
}

absl::Status DitPipeline::FillLatents(const v1::OpenSlot& request,
                                      absl::Span<const Payload> tensors, Slot& slot) {
  const size_t bytes = LatentBytes(slot);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer = ops_.Allocate(bytes);
  if (!buffer.ok()) {
    return Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                 "the worker has no memory left for the latents");
  }
  slot.latents = *std::move(buffer);
  absl::Status status;
  if (request.has_checkpoint()) {
    slot.steps_done = request.checkpoint().step();
    status = ops_.CopyToDevice(slot.latents->data(), tensors[0].bytes().data(), bytes, *stream_);
    if (status.ok()) status = stream_->Synchronize();
    return status;
  }
  std::vector<float> noise(bytes / sizeof(float));
  FillNoise(static_cast<uint64_t>(request.seed()), absl::MakeSpan(noise));
  status = ops_.CopyToDevice(slot.latents->data(), noise.data(), bytes, *stream_);
  if (status.ok()) status = stream_->Synchronize();
  return status;
}

void DitPipeline::Close(uint32_t slot_index, bool zero) {
  if (slot_index >= slots_.size()) return;
  Slot& slot = slots_[slot_index];
  if (zero && slot.latents != nullptr) {
    const std::vector<char> zeros(slot.latents->size());
    // If the device fails here, the next step finds it out, and the process ends with its memory.
    if (ops_.CopyToDevice(slot.latents->data(), zeros.data(), zeros.size(), *stream_).ok()) {
      stream_->Synchronize().IgnoreError();
    }
    std::fill(slot.labels.begin(), slot.labels.end(), 0.0f);
    std::fill(slot.prompt.begin(), slot.prompt.end(), '\0');
  }
  slot = Slot();
}

std::shared_ptr<const std::vector<float>> DitPipeline::Positions(int latent_size) {
  std::weak_ptr<const std::vector<float>>& cached = positions_[latent_size];
  std::shared_ptr<const std::vector<float>> positions = cached.lock();
  if (positions == nullptr) {
    const DitConfig& config = parts_.transformer->config();
    positions = std::make_shared<const std::vector<float>>(
        DitAxisPositions(config, latent_size / config.patch));
    cached = positions;
  }
  return positions;
}

LatentView DitPipeline::View(const Slot& slot) const {
  return {.data = static_cast<float*>(slot.latents->data()),
          .channels = parts_.transformer->config().in_channels,
          .height = slot.latent_height,
          .width = slot.latent_width,
          .pad = 0};
}

size_t DitPipeline::LatentBytes(const Slot& slot) const {
  return Layout::FloatBytes(int64_t{parts_.transformer->config().in_channels} * slot.latent_height *
                            slot.latent_width);
}

absl::StatusOr<std::string> DitPipeline::ReadLatents(const Slot& slot) {
  std::string latents(LatentBytes(slot), '\0');
  absl::Status status =
      ops_.CopyToHost(latents.data(), slot.latents->data(), latents.size(), *stream_);
  if (status.ok()) status = stream_->Synchronize();
  if (!status.ok()) return status;
  return latents;
}

absl::StatusOr<DitPipeline::Slot*> DitPipeline::FindSlot(const v1::PlanJob& job) {
  if (job.slot() >= slots_.size() || !slots_[job.slot()].open) {
    return WrongState("SLOT_NOT_OPEN", "the plan names a slot that is not open");
  }
  return &slots_[job.slot()];
}

absl::Status DitPipeline::EncodeSlot(Slot& slot) {
  if (slot.encoded) return absl::OkStatus();
  absl::StatusOr<int> class_id = parts_.classes.Find(slot.prompt);
  if (!class_id.ok()) return class_id.status();
  slot.labels.resize(null_labels_.size());
  parts_.transformer->GatherLabel(*class_id, absl::MakeSpan(slot.labels));
  slot.encoded = true;
  return absl::OkStatus();
}

absl::Status DitPipeline::Encode(const v1::BatchPlan& plan, absl::Span<const int> live,
                                 absl::Span<JobOutcome> outcomes) {
  for (const int index : live) {
    absl::StatusOr<Slot*> slot = FindSlot(plan.jobs(index));
    outcomes[static_cast<size_t>(index)].status = slot.ok() ? EncodeSlot(**slot) : slot.status();
  }
  return absl::OkStatus();
}

absl::Status DitPipeline::EncodeImage(const v1::BatchPlan& /*plan*/, absl::Span<const int> live,
                                      absl::Span<JobOutcome> outcomes) {
  // Open let no slot in that has a picture.
  for (const int index : live) {
    outcomes[static_cast<size_t>(index)].status =
        WrongState("IMAGE_MISSING", "the slot holds no picture");
  }
  return absl::OkStatus();
}

// The schedule's own step, or the one that the plan gives as (timestep now, timestep next).
absl::StatusOr<StepCoefficients> DitPipeline::StepFor(const v1::PlanJob& job, const Slot& slot,
                                                      float& timestep) const {
  int now = slot.timesteps[static_cast<size_t>(slot.steps_done)];
  int next = parts_.sampler.PreviousTimestep(now, static_cast<int>(slot.timesteps.size()));
  if (job.sigmas_size() > 0) {
    const double train = parts_.sampler.train_timesteps();
    // DDIM's noise levels are whole timesteps; -1 stands for clean latents.
    const auto whole = [train](double sigma) {
      return sigma >= -1 && sigma < train && sigma == std::floor(sigma);
    };
    if (job.sigmas_size() != 2 || !whole(job.sigmas(0)) || !whole(job.sigmas(1)) ||
        job.sigmas(0) < 0 || job.sigmas(1) >= job.sigmas(0)) {
      return OutOfRange(
          "SIGMAS_INVALID", "sigmas",
          absl::StrCat("must be two descending timesteps from ", train - 1, " to -1"));
    }
    now = static_cast<int>(job.sigmas(0));
    next = static_cast<int>(job.sigmas(1));
  }
  timestep = static_cast<float>(now);
  return parts_.sampler.Step(now, next);
}

absl::StatusOr<DitPipeline::Ready> DitPipeline::Prepare(const v1::BatchPlan& plan, int index) {
  const v1::PlanJob& job = plan.jobs(index);
  absl::StatusOr<Slot*> found = FindSlot(job);
  if (!found.ok()) return found.status();
  Slot& slot = **found;
  const v1::SegmentRange& segments = plan.segments();
  const bool whole =
      segments.last() == 0 ||
      (segments.first() == 0 && segments.last() == parts_.transformer->config().layers);
  if (!whole) return Unsupported("SEGMENTS_UNSUPPORTED", "this model runs whole steps only");
  if (job.cfg_branch() != v1::CFG_BRANCH_UNSPECIFIED) {
    return Unsupported("CFG_BRANCH_UNSUPPORTED", "this model runs both branches together only");
  }
  if (job.adapters_size() > 0) {
    return Unsupported("ADAPTERS_UNSUPPORTED", "this model takes no adapters");
  }
  if (job.step_index() != slot.steps_done ||
      slot.steps_done >= static_cast<int>(slot.timesteps.size())) {
    return WrongState("STEP_INVALID", absl::StrCat("the plan asks for step ", job.step_index(),
                                                   "; the slot has done ", slot.steps_done, " of ",
                                                   slot.timesteps.size()));
  }
  const double guidance = job.guidance_scale() != 0 ? job.guidance_scale() : slot.guidance_scale;
  if (!(guidance >= model_limits::kGuidanceScaleMin &&
        guidance <= model_limits::kGuidanceScaleMax)) {
    return OutOfRange("GUIDANCE_SCALE_OUT_OF_RANGE", "sampling.guidance_scale",
                      absl::StrCat("must be ", model_limits::kGuidanceScaleMin, " to ",
                                   model_limits::kGuidanceScaleMax));
  }
  if (absl::Status status = EncodeSlot(slot); !status.ok()) return status;

  Ready ready{.index = index, .slot = &slot, .job = {}};
  ready.job.identity = slot.identity;
  ready.job.latents = View(slot);
  // Pictures are square: rows and columns have the same positions.
  ready.job.row_positions = slot.positions->data();
  ready.job.column_positions = slot.positions->data();
  ready.job.conditional = slot.labels.data();
  ready.job.unconditional = guidance > 1 ? null_labels_.data() : nullptr;
  ready.job.guidance = static_cast<float>(guidance);
  absl::StatusOr<StepCoefficients> step = StepFor(job, slot, ready.job.timestep);
  if (!step.ok()) return step.status();
  ready.job.step = *step;
  return ready;
}

absl::Status DitPipeline::Denoise(const v1::BatchPlan& plan, absl::Span<const int> live,
                                  absl::Span<JobOutcome> outcomes) {
  std::vector<Ready> pass;
  int64_t rows = 0;
  const auto run = [&] {
    absl::Status status = RunPass(plan, pass, outcomes);
    pass.clear();
    rows = 0;
    return status;
  };
  for (const int index : live) {
    absl::StatusOr<Ready> ready = Prepare(plan, index);
    if (ready.ok() && std::any_of(pass.begin(), pass.end(), [&ready](const Ready& other) {
          return other.slot == ready->slot;
        })) {
      ready = WrongState("SLOT_TWICE", "the plan names a slot twice");
    }
    if (!ready.ok()) {
      outcomes[static_cast<size_t>(index)].status = ready.status();
      continue;
    }
    const int64_t added = step_.RowsOf(ready->job);
    if (!pass.empty() && rows + added > parts_.step_rows_max) {
      if (absl::Status status = run(); !status.ok()) return status;
    }
    rows += added;
    pass.push_back(*std::move(ready));
  }
  return run();
}

absl::Status DitPipeline::RunPass(const v1::BatchPlan& plan, absl::Span<const Ready> pass,
                                  absl::Span<JobOutcome> outcomes) {
  step_jobs_.clear();
  for (const Ready& ready : pass) step_jobs_.push_back(ready.job);
  if (absl::Status status = step_.Run(step_jobs_, *stream_); !status.ok()) return status;
  for (const Ready& ready : pass) {
    ++ready.slot->steps_done;
    JobOutcome& outcome = outcomes[static_cast<size_t>(ready.index)];
    outcome.sigma = ready.job.timestep;
    absl::Status status = FinishStep(plan.jobs(ready.index), *ready.slot, outcome);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// What a plan wants back after a step.
absl::Status DitPipeline::FinishStep(const v1::PlanJob& job, const Slot& slot,
                                     JobOutcome& outcome) {
  if (!job.returns().checkpoint() && !parts_.hash_latents) return absl::OkStatus();
  absl::StatusOr<std::string> latents = ReadLatents(slot);
  if (!latents.ok()) return latents.status();
  if (parts_.hash_latents) outcome.latents_hash = Fnv1a64(*latents);
  if (!job.returns().checkpoint()) return absl::OkStatus();
  if (!AreFinite(*latents)) {
    outcome.status = NotFinite();
    return absl::OkStatus();
  }

  v1::Checkpoint& checkpoint = outcome.checkpoint.emplace();
  checkpoint.set_step(slot.steps_done);
  checkpoint.set_numerics_id(parts_.model.numerics_id());
  v1::TensorRef& ref = *checkpoint.mutable_latents();
  ref.set_dtype(v1::DTYPE_F32);
  ref.add_shape(parts_.transformer->config().in_channels);
  ref.add_shape(slot.latent_height);
  ref.add_shape(slot.latent_width);
  ref.set_size_bytes(static_cast<int64_t>(latents->size()));
  absl::StatusOr<Payload> payload = MakePayload(*latents);
  if (payload.ok()) {
    outcome.checkpoint_tensors.push_back(*std::move(payload));
  } else {
    // The step itself is done, so the job goes on; a later checkpoint will do.
    outcome.checkpoint.reset();
  }
  return absl::OkStatus();
}

absl::Status DitPipeline::Decode(const v1::BatchPlan& plan, absl::Span<const int> live,
                                 absl::Span<JobOutcome> outcomes) {
  for (const int index : live) {
    JobOutcome& outcome = outcomes[static_cast<size_t>(index)];
    absl::StatusOr<Slot*> slot = FindSlot(plan.jobs(index));
    if (!slot.ok()) {
      outcome.status = slot.status();
      continue;
    }
    if ((*slot)->steps_done < static_cast<int>((*slot)->timesteps.size())) {
      outcome.status = WrongState(
          "STEP_INVALID", absl::StrCat("decode before the last step: ", (*slot)->steps_done, " of ",
                                       (*slot)->timesteps.size(), " are done"));
      continue;
    }
    if (absl::Status status = DecodeSlot(**slot, outcome); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DitPipeline::DecodeSlot(const Slot& slot, JobOutcome& outcome) {
  absl::StatusOr<std::string> latents = ReadLatents(slot);
  if (!latents.ok()) return latents.status();
  if (!AreFinite(*latents)) {
    outcome.status = NotFinite();
    return absl::OkStatus();
  }
  const int factor = parts_.decoder->config().factor();
  const size_t bytes = static_cast<size_t>(slot.latent_height * factor) *
                       static_cast<size_t>(slot.latent_width * factor) * kPixelChannels;
  const auto decode = [&](char* pixels) {
    return parts_.decoder->Decode(View(slot), reinterpret_cast<uint8_t*>(pixels), *stream_);
  };
  absl::Status decoded;
  if (bytes <= model_limits::kInlineOutputBytesMax) {
    std::string pixels(bytes, '\0');
    decoded = decode(pixels.data());
    outcome.output = Payload::Copy(pixels);
    return decoded;
  }
  absl::StatusOr<Payload> payload = Payload::CreateMemfd(
      bytes, [&](absl::Span<char> pixels) { decoded = decode(pixels.data()); });
  if (!decoded.ok()) return decoded;
  if (payload.ok()) {
    outcome.output = *std::move(payload);
  } else {
    outcome.status = payload.status();
  }
  return absl::OkStatus();
}

}  // namespace darkroom
