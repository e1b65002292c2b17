#include "model/diffusion_pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/denoise_steps.h"
#include "base/error.h"
#include "base/numerics.h"
#include "model/limits.h"
#include "model/noise.h"

namespace darkroom {
namespace {

// A mask's pixels from this grey level on are painted, as diffusers rounds them.
constexpr int kMaskThreshold = 128;
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

// Written so that NaN is outside too.
absl::Status CheckScale(const std::string& field, std::string_view reason, double scale) {
  constexpr double kMin = model_limits::kGuidanceScaleMin;
  constexpr double kMax = model_limits::kGuidanceScaleMax;
  if (scale >= kMin && scale <= kMax) return absl::OkStatus();
  return OutOfRange(reason, field,
                    absl::StrCat("must be ", kMin, " to ", kMax, "; nearest: ",
                                 std::clamp(std::isnan(scale) ? kMin : scale, kMin, kMax)));
}

absl::Status OutOfMemory() {
  return Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
               "the worker has no memory left for the latents");
}

// The mean of every `k` x `k` latents, [channels, height / k, width / k].
std::vector<float> Shrink(const LatentView& shape, const float* latents, int k) {
  const int height = std::max(1, shape.height / k);
  const int width = std::max(1, shape.width / k);
  std::vector<float> out(static_cast<size_t>(shape.channels) * height * width);
  float* to = out.data();
  for (int c = 0; c < shape.channels; ++c) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        float sum = 0;
        int count = 0;
        for (int i = y * k; i < std::min((y + 1) * k, shape.height); ++i) {
          for (int j = x * k; j < std::min((x + 1) * k, shape.width); ++j, ++count) {
            sum += latents[(int64_t{c} * shape.height + i) * shape.width + j];
          }
        }
        *to++ = sum / static_cast<float>(count);
      }
    }
  }
  return out;
}

}  // namespace

DiffusionPipeline::DiffusionPipeline(DiffusionPipelineParts parts, Ops& ops)
    : parts_(std::move(parts)),
      ops_(ops),
      stream_(ops.CreateStream()),
      slots_(static_cast<size_t>(parts_.slots)),
      denoised_(static_cast<size_t>(parts_.slots)) {}

absl::Status DiffusionPipeline::CheckOpen(const v1::OpenSlot& request,
                                          const JobInputs& inputs) const {
  if (request.slot() >= slots_.size()) {
    return WrongState("SLOT_INVALID", absl::StrCat("slot must be 0 to ", slots_.size() - 1));
  }
  if (slots_[request.slot()].open) return WrongState("SLOT_OPEN", "the slot is open already");
  const v1::Model::Limits& limits = parts_.model.limits();
  absl::Status status = CheckSize(limits, "width", request.width());
  if (status.ok()) status = CheckSize(limits, "height", request.height());
  if (!status.ok()) return status;
  if (limits.square_only() && request.height() != request.width()) {
    return OutOfRange("SIZE_UNSUPPORTED", "height",
                      absl::StrCat("is ", request.height(),
                                   "; this model makes square pictures, "
                                   "so it must equal width; nearest: ",
                                   request.width()));
  }
  for (const auto& [field, prompt] : {std::pair("prompt", &request.prompt()),
                                      std::pair("negative_prompt", &request.negative_prompt())}) {
    if (prompt->size() <= model_limits::kPromptBytesMax) continue;
    return OutOfRange("PROMPT_TOO_LONG", field,
                      absl::StrCat("has ", prompt->size(), " bytes; at most ",
                                   model_limits::kPromptBytesMax, " can be"));
  }
  status = CheckScale("sampling.guidance_scale", "GUIDANCE_SCALE_OUT_OF_RANGE",
                      request.guidance_scale());
  if (status.ok() && request.true_cfg_scale() != 0) {
    status = CheckScale("sampling.true_cfg_scale", "TRUE_CFG_SCALE_OUT_OF_RANGE",
                        request.true_cfg_scale());
  }
  if (!status.ok()) return status;
  if (request.seed() < 0) {
    return OutOfRange("SEED_OUT_OF_RANGE", "sampling.seed", "must be 0 to 2^63-1; nearest: 0");
  }
  const Sampler* sampler = FindSampler(parts_.samplers, request.sampler());
  if (sampler == nullptr) {
    return OutOfRange("SAMPLER_UNSUPPORTED", "sampling.sampler",
                      absl::StrCat("must be one of: ", absl::StrJoin(parts_.model.samplers(), ", "),
                                   "; nearest: ", parts_.model.defaults().sampler()));
  }
  const int steps_max = std::min(limits.steps_max(), sampler->steps_max());
  if (request.steps() < 1 || request.steps() > steps_max) {
    return OutOfRange("STEPS_OUT_OF_RANGE", "sampling.steps",
                      absl::StrCat("is ", request.steps(), "; it must be 1 to ", steps_max,
                                   "; nearest: ", std::clamp(request.steps(), 1, steps_max)));
  }
  if (request.adapters_size() > 0) {
    return Unsupported("ADAPTERS_UNSUPPORTED", "this model takes no adapters");
  }
  return CheckInputs(request, inputs);
}

absl::Status DiffusionPipeline::CheckInputs(const v1::OpenSlot& request,
                                            const JobInputs& inputs) const {
  const auto pixels = static_cast<size_t>(request.width()) * static_cast<size_t>(request.height());
  if (inputs.init_image.empty()) {
    if (inputs.mask.empty()) return absl::OkStatus();
    return OutOfRange("MASK_WITHOUT_INIT", "inputs", "a mask needs a picture to start from");
  }
  if (parts_.encoder == nullptr) {
    return Unsupported("INPUTS_UNSUPPORTED", "this model takes no pictures");
  }
  if (inputs.init_image.size() != pixels * kPixelChannels ||
      (!inputs.mask.empty() && inputs.mask.size() != pixels)) {
    return OutOfRange("INPUT_SIZE_INVALID", "inputs", "must have the size of the output");
  }
  if (!(request.strength() >= 0 && request.strength() <= 1)) {
    return OutOfRange("STRENGTH_OUT_OF_RANGE", "sampling.strength", "must be 0 to 1");
  }
  if (SkippedSteps(request.steps(), request.strength()) >= request.steps()) {
    return OutOfRange("STRENGTH_LEAVES_NO_STEP", "sampling.strength",
                      absl::StrCat("leaves none of ", request.steps(),
                                   " steps; nearest: ", 1.0 / request.steps()));
  }
  return absl::OkStatus();
}

// A checkpoint is this job's own, from this or another worker; still only what fits is believed.
absl::Status DiffusionPipeline::CheckCheckpoint(const v1::OpenSlot& request, bool keeps_history,
                                                absl::Span<const Payload> tensors) const {
  const v1::Checkpoint& checkpoint = request.checkpoint();
  if (checkpoint.numerics_id() != parts_.model.numerics_id()) {
    return WrongState("NUMERICS_MISMATCH",
                      "the checkpoint was made under another numerics_id; it can only be resumed "
                      "where the same request gives the same bits");
  }
  const double strength = request.has_init_image() ? request.strength() : 1.0;
  const int due = DenoiseEvaluations(FindSampler(parts_.samplers, request.sampler())->name(),
                                     request.steps(), strength);
  if (checkpoint.step() < 0 || checkpoint.step() > due) {
    return WrongState("CHECKPOINT_INVALID",
                      absl::StrCat("step is ", checkpoint.step(), " of ", due));
  }
  const int64_t shape[] = {parts_.denoiser->latent_channels(), request.height() / factor(),
                           request.width() / factor()};
  const size_t bytes = sizeof(float) * static_cast<size_t>(shape[0] * shape[1] * shape[2]);
  const auto fits = [&](const v1::TensorRef& ref) {
    return ref.dtype() == v1::DTYPE_F32 &&
           std::equal(ref.shape().begin(), ref.shape().end(), std::begin(shape), std::end(shape));
  };
  const bool ok =
      fits(checkpoint.latents()) && checkpoint.random_counter() == 0 &&
      checkpoint.sampler_state_size() == (keeps_history ? 1 : 0) &&
      std::all_of(checkpoint.sampler_state().begin(), checkpoint.sampler_state().end(), fits) &&
      tensors.size() == 1 + static_cast<size_t>(checkpoint.sampler_state_size()) &&
      std::all_of(tensors.begin(), tensors.end(),
                  [bytes](const Payload& tensor) { return tensor.size() == bytes; });
  if (ok) return absl::OkStatus();
  return WrongState(
      "CHECKPOINT_INVALID",
      absl::StrCat("this job's checkpoint is f32 latents [", shape[0], ", ", shape[1], ", ",
                   shape[2], "]", keeps_history ? " and the sampler's history, as many" : ""));
}

absl::Status DiffusionPipeline::Open(const v1::OpenSlot& request,
                                     absl::Span<const Payload> checkpoint_tensors,
                                     const JobInputs& inputs) {
  if (absl::Status status = CheckOpen(request, inputs); !status.ok()) return status;
  const Sampler* sampler = FindSampler(parts_.samplers, request.sampler());
  if (request.has_checkpoint()) {
    absl::Status status = CheckCheckpoint(request, sampler->keeps_history(), checkpoint_tensors);
    if (!status.ok()) return status;
  }
  Slot slot;
  slot.identity = ++identities_;
  slot.guidance_scale = request.guidance_scale();
  slot.true_cfg_scale = request.true_cfg_scale() != 0 ? request.true_cfg_scale() : 1.0;
  slot.latent_height = request.height() / factor();
  slot.latent_width = request.width() / factor();
  slot.sampler = sampler;
  const int patch = parts_.denoiser->patch();
  const int64_t tokens = int64_t{slot.latent_height / patch} * (slot.latent_width / patch);
  slot.awaits_image = !inputs.init_image.empty();
  slot.schedule =
      sampler->MakeSchedule(request.steps(), tokens, slot.awaits_image ? request.strength() : 1.0);
  slot.inputs = inputs;

  slot.request.tenant_tag = request.tenant_tag();
  slot.request.prompt = request.prompt();
  slot.request.negative_prompt = request.negative_prompt();
  slot.request.sequence_length_max = request.max_sequence_length();
  slot.request.latent_height = slot.latent_height;
  slot.request.latent_width = slot.latent_width;
  StepJob probe;
  if (absl::Status status = SetGuidance(v1::PlanJob(), slot, probe); !status.ok()) return status;
  slot.request.guided = probe.guided();

  if (absl::Status status = FillLatents(request, checkpoint_tensors, slot); !status.ok()) {
    return status;
  }
  slot.open = true;
  slots_[request.slot()] = std::move(slot);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> DiffusionPipeline::AllocateLatents(size_t bytes) {
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer = ops_.Allocate(bytes);
  if (!buffer.ok()) return OutOfMemory();
  return buffer;
}

absl::Status DiffusionPipeline::CopyIn(DeviceBuffer& to, const void* from, size_t bytes) {
  absl::Status status = ops_.CopyToDevice(to.data(), from, bytes, *stream_);
  if (status.ok()) status = stream_->Synchronize();
  return status;
}

// Random numbers are drawn in diffusers' order: those of the autoencoder's distribution, where
// there is a picture to encode, then the starting noise.
absl::Status DiffusionPipeline::FillLatents(const v1::OpenSlot& request,
                                            absl::Span<const Payload> tensors, Slot& slot) {
  const size_t elements = LatentElements(slot);
  const size_t bytes = elements * sizeof(float);
  auto latents = AllocateLatents(bytes);
  if (!latents.ok()) return latents.status();
  slot.latents = *std::move(latents);
  if (slot.sampler->keeps_history()) {
    auto history = AllocateLatents(bytes);
    if (!history.ok()) return history.status();
    slot.history = *std::move(history);
  }

  const DType dtype = request.noise_dtype() == v1::DTYPE_BF16 ? DType::kBf16 : DType::kF32;
  NoiseGenerator generator(static_cast<uint64_t>(request.seed()));
  if (slot.awaits_image) {
    slot.posterior_noise.resize(elements);
    generator.Fill(dtype, absl::MakeSpan(slot.posterior_noise));
  }
  slot.start_noise.resize(elements);
  generator.Fill(dtype, absl::MakeSpan(slot.start_noise));

  if (request.has_checkpoint()) {
    slot.steps_done = request.checkpoint().step();
    absl::Status status = CopyIn(*slot.latents, tensors[0].bytes().data(), bytes);
    if (status.ok() && slot.history != nullptr) {
      status = CopyIn(*slot.history, tensors[1].bytes().data(), bytes);
    }
    if (!status.ok()) return status;
  } else if (!slot.awaits_image) {
    absl::Status status = CopyIn(*slot.latents, slot.start_noise.data(), bytes);
    if (!status.ok()) return status;
  }
  if (!slot.awaits_image) slot.start_noise = {};
  return absl::OkStatus();
}

void DiffusionPipeline::Close(uint32_t slot_index, bool zero) {
  if (slot_index >= slots_.size()) return;
  Slot& slot = slots_[slot_index];
  if (zero) {
    const auto wipe = [this](DeviceBuffer* buffer) {
      if (buffer == nullptr) return;
      const std::vector<char> zeros(buffer->size());
      // If the device fails here, the next step finds it out, and the process ends with its memory.
      CopyIn(*buffer, zeros.data(), zeros.size()).IgnoreError();
    };
    for (DeviceBuffer* buffer : {slot.latents.get(), slot.history.get(), slot.known.get(),
                                 slot.noise.get(), slot.mask.get(), denoised_[slot_index].get()}) {
      wipe(buffer);
    }
    if (slot.conditioning != nullptr) slot.conditioning->Wipe(ops_, *stream_);
    for (std::string* text : {&slot.request.prompt, &slot.request.negative_prompt}) {
      std::fill(text->begin(), text->end(), '\0');
    }
  }
  denoised_[slot_index] = nullptr;
  slot = Slot();
}

size_t DiffusionPipeline::LatentElements(const Slot& slot) const {
  return static_cast<size_t>(parts_.denoiser->latent_channels()) *
         static_cast<size_t>(slot.latent_height) * static_cast<size_t>(slot.latent_width);
}

LatentView DiffusionPipeline::View(const Slot& slot) const {
  return {.data = static_cast<float*>(slot.latents->data()),
          .channels = parts_.denoiser->latent_channels(),
          .height = slot.latent_height,
          .width = slot.latent_width,
          .pad = 0};
}

absl::StatusOr<std::string> DiffusionPipeline::Read(DeviceBuffer& buffer) {
  std::string bytes(buffer.size(), '\0');
  absl::Status status = ops_.CopyToHost(bytes.data(), buffer.data(), bytes.size(), *stream_);
  if (status.ok()) status = stream_->Synchronize();
  if (!status.ok()) return status;
  return bytes;
}

absl::StatusOr<DiffusionPipeline::Slot*> DiffusionPipeline::FindSlot(const v1::PlanJob& job) {
  if (job.slot() >= slots_.size() || !slots_[job.slot()].open) {
    return WrongState("SLOT_NOT_OPEN", "the plan names a slot that is not open");
  }
  return &slots_[job.slot()];
}

absl::Status DiffusionPipeline::EncodeSlot(Slot& slot) {
  if (slot.conditioning != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Conditioning>> conditioning =
      parts_.denoiser->Encode(slot.request, *stream_);
  if (!conditioning.ok()) return conditioning.status();
  slot.conditioning = *std::move(conditioning);
  return absl::OkStatus();
}

absl::Status DiffusionPipeline::Encode(const v1::BatchPlan& plan, absl::Span<const int> live,
                                       absl::Span<JobOutcome> outcomes) {
  for (const int index : live) {
    absl::StatusOr<Slot*> slot = FindSlot(plan.jobs(index));
    outcomes[static_cast<size_t>(index)].status = slot.ok() ? EncodeSlot(**slot) : slot.status();
  }
  return absl::OkStatus();
}

absl::Status DiffusionPipeline::EncodeImage(const v1::BatchPlan& plan, absl::Span<const int> live,
                                            absl::Span<JobOutcome> outcomes) {
  for (const int index : live) {
    absl::StatusOr<Slot*> slot = FindSlot(plan.jobs(index));
    if (slot.ok() && !(*slot)->awaits_image) {
      slot = WrongState("IMAGE_MISSING", "the slot holds no picture that is yet to be encoded");
    }
    outcomes[static_cast<size_t>(index)].status =
        slot.ok() ? EncodeSlotImage(**slot) : slot.status();
  }
  return absl::OkStatus();
}

// The picture's latents, noised to where the schedule starts. A resumed job keeps its checkpoint's
// latents and needs the picture only for what it must not paint.
absl::Status DiffusionPipeline::EncodeSlotImage(Slot& slot) {
  const size_t elements = LatentElements(slot);
  std::vector<float> known(elements);
  const auto* pixels = reinterpret_cast<const uint8_t*>(slot.inputs.init_image.bytes().data());
  absl::Status status =
      parts_.encoder->Encode(pixels, slot.latent_height, slot.latent_width, slot.posterior_noise,
                             absl::MakeSpan(known), *stream_);
  if (!status.ok()) return status;
  const size_t bytes = elements * sizeof(float);
  if (slot.steps_done == 0) {
    std::vector<float> start(elements);
    for (size_t i = 0; i < elements; ++i) {
      start[i] =
          slot.schedule.start_noise * slot.start_noise[i] + slot.schedule.start_known * known[i];
    }
    if (status = CopyIn(*slot.latents, start.data(), bytes); !status.ok()) return status;
  }
  if (!slot.inputs.mask.empty()) {
    const std::pair<std::unique_ptr<DeviceBuffer>*, const std::vector<float>*> kept[] = {
        {&slot.known, &known}, {&slot.noise, &slot.start_noise}};
    for (const auto& [buffer, values] : kept) {
      auto allocated = AllocateLatents(bytes);
      if (!allocated.ok()) return allocated.status();
      *buffer = *std::move(allocated);
      if (status = CopyIn(**buffer, values->data(), bytes); !status.ok()) return status;
    }
    if (status = FillMask(slot); !status.ok()) return status;
  }
  slot.inputs = JobInputs();
  slot.posterior_noise = {};
  slot.start_noise = {};
  slot.awaits_image = false;
  return absl::OkStatus();
}

// A latent is painted if the pixel in its top left corner is: nearest neighbour, as diffusers
// shrinks masks.
absl::Status DiffusionPipeline::FillMask(Slot& slot) {
  const std::string_view pixels = slot.inputs.mask.bytes();
  const auto width = static_cast<size_t>(slot.latent_width);
  std::vector<float> mask(static_cast<size_t>(slot.latent_height) * width);
  const auto step = static_cast<size_t>(factor());
  for (size_t i = 0; i < mask.size(); ++i) {
    const size_t at = (i / width) * step * (width * step) + (i % width) * step;
    mask[i] = static_cast<unsigned char>(pixels[at]) >= kMaskThreshold ? 1.0f : 0.0f;
  }
  auto buffer = AllocateLatents(mask.size() * sizeof(float));
  if (!buffer.ok()) return buffer.status();
  slot.mask = *std::move(buffer);
  return CopyIn(*slot.mask, mask.data(), mask.size() * sizeof(float));
}

absl::Status DiffusionPipeline::CheckPlanJob(const v1::BatchPlan& plan, const v1::PlanJob& job,
                                             const Slot& slot) const {
  const v1::SegmentRange& segments = plan.segments();
  const bool whole = segments.last() == 0 ||
                     (segments.first() == 0 && segments.last() == parts_.denoiser->layers());
  if (!whole) return Unsupported("SEGMENTS_UNSUPPORTED", "this model runs whole steps only");
  if (job.cfg_branch() != v1::CFG_BRANCH_UNSPECIFIED) {
    return Unsupported("CFG_BRANCH_UNSUPPORTED", "this model runs both branches together only");
  }
  if (job.adapters_size() > 0) {
    return Unsupported("ADAPTERS_UNSUPPORTED", "this model takes no adapters");
  }
  if (slot.awaits_image) {
    return WrongState("IMAGE_NOT_ENCODED", "the slot's picture has not been encoded");
  }
  if (job.step_index() != slot.steps_done || slot.steps_done >= slot.evaluations()) {
    return WrongState("STEP_INVALID", absl::StrCat("the plan asks for step ", job.step_index(),
                                                   "; the slot has done ", slot.steps_done, " of ",
                                                   slot.evaluations()));
  }
  return absl::OkStatus();
}

absl::Status DiffusionPipeline::SetGuidance(const v1::PlanJob& job, const Slot& slot,
                                            StepJob& step) const {
  const double scale = job.guidance_scale() != 0 ? job.guidance_scale() : slot.guidance_scale;
  absl::Status status = CheckScale("sampling.guidance_scale", "GUIDANCE_SCALE_OUT_OF_RANGE", scale);
  if (!status.ok()) return status;
  const bool classifier_free = parts_.model.guidance() == v1::Model::GUIDANCE_CLASSIFIER_FREE;
  step.cfg_scale = static_cast<float>(classifier_free ? scale : slot.true_cfg_scale);
  step.distilled_guidance = static_cast<float>(scale);
  if (slot.open && step.guided() && !slot.request.guided) {
    return WrongState("GUIDANCE_NOT_ENCODED",
                      "the slot was opened without guidance, so its other branch is not there");
  }
  return absl::OkStatus();
}

absl::StatusOr<DiffusionPipeline::Ready> DiffusionPipeline::Prepare(const v1::BatchPlan& plan,
                                                                    int index) {
  const v1::PlanJob& job = plan.jobs(index);
  absl::StatusOr<Slot*> found = FindSlot(job);
  if (!found.ok()) return found.status();
  Slot& slot = **found;
  if (absl::Status status = CheckPlanJob(plan, job, slot); !status.ok()) return status;

  Ready ready{.index = index, .slot = &slot, .job = {}};
  StepJob& step = ready.job;
  if (absl::Status status = SetGuidance(job, slot, step); !status.ok()) return status;
  step.evaluation = slot.schedule.evaluations[static_cast<size_t>(slot.steps_done)];
  if (job.sigmas_size() > 0) {
    if (job.sigmas_size() != 2)
      return OutOfRange("SIGMAS_INVALID", "sigmas", "must be two or none");
    absl::StatusOr<Evaluation> given = slot.sampler->MakeStep(job.sigmas(0), job.sigmas(1));
    if (!given.ok()) return given.status();
    step.evaluation = *given;
  }
  if (absl::Status status = EncodeSlot(slot); !status.ok()) return status;
  const auto floats = [](const std::unique_ptr<DeviceBuffer>& buffer) {
    return buffer == nullptr ? nullptr : static_cast<float*>(buffer->data());
  };
  if (job.returns().preview()) {
    std::unique_ptr<DeviceBuffer>& denoised = denoised_[job.slot()];
    if (denoised == nullptr) {
      auto buffer = AllocateLatents(LatentElements(slot) * sizeof(float));
      if (!buffer.ok()) return buffer.status();
      denoised = *std::move(buffer);
    }
    step.denoised = floats(denoised);
  }
  step.identity = slot.identity;
  step.conditioning = slot.conditioning.get();
  step.latents = View(slot);
  step.history = floats(slot.history);
  step.mask = floats(slot.mask);
  step.known = floats(slot.known);
  step.noise = floats(slot.noise);
  return ready;
}

absl::Status DiffusionPipeline::Denoise(const v1::BatchPlan& plan, absl::Span<const int> live,
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
    const int64_t added = parts_.denoiser->RowsOf(ready->job);
    if (!pass.empty() && rows + added > parts_.step_rows_max) {
      if (absl::Status status = run(); !status.ok()) return status;
    }
    rows += added;
    pass.push_back(*std::move(ready));
  }
  return run();
}

absl::Status DiffusionPipeline::RunPass(const v1::BatchPlan& plan, absl::Span<const Ready> pass,
                                        absl::Span<JobOutcome> outcomes) {
  step_jobs_.clear();
  for (const Ready& ready : pass) step_jobs_.push_back(ready.job);
  if (absl::Status status = parts_.denoiser->Run(step_jobs_, *stream_); !status.ok()) {
    return status;
  }
  for (const Ready& ready : pass) {
    ++ready.slot->steps_done;
    JobOutcome& outcome = outcomes[static_cast<size_t>(ready.index)];
    outcome.sigma = ready.job.evaluation.sigma;
    absl::Status status = FinishStep(plan.jobs(ready.index), *ready.slot, outcome);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// What a plan wants back after a step.
absl::Status DiffusionPipeline::FinishStep(const v1::PlanJob& job, const Slot& slot,
                                           JobOutcome& outcome) {
  if (job.returns().preview()) {
    if (absl::Status status = PutPreview(job, slot, outcome); !status.ok()) return status;
  }
  if (!job.returns().checkpoint() && !parts_.hash_latents) return absl::OkStatus();
  absl::StatusOr<std::string> latents = Read(*slot.latents);
  if (!latents.ok()) return latents.status();
  if (parts_.hash_latents) outcome.latents_hash = Fnv1a64(*latents);
  if (!job.returns().checkpoint()) return absl::OkStatus();
  if (!AreFinite(*latents)) {
    outcome.status = NotFinite();
    return absl::OkStatus();
  }
  return PutCheckpoint(slot, *std::move(latents), outcome);
}

absl::Status DiffusionPipeline::PutCheckpoint(const Slot& slot, std::string latents,
                                              JobOutcome& outcome) {
  v1::Checkpoint& checkpoint = outcome.checkpoint.emplace();
  checkpoint.set_step(slot.steps_done);
  checkpoint.set_numerics_id(parts_.model.numerics_id());
  const auto put = [&](std::string_view bytes, v1::TensorRef& ref) {
    ref.set_dtype(v1::DTYPE_F32);
    ref.add_shape(parts_.denoiser->latent_channels());
    ref.add_shape(slot.latent_height);
    ref.add_shape(slot.latent_width);
    ref.set_size_bytes(static_cast<int64_t>(bytes.size()));
    absl::StatusOr<Payload> payload = MakePayload(bytes);
    if (payload.ok()) outcome.checkpoint_tensors.push_back(*std::move(payload));
    return payload.ok();
  };
  bool complete = put(latents, *checkpoint.mutable_latents());
  if (complete && slot.history != nullptr) {
    absl::StatusOr<std::string> history = Read(*slot.history);
    if (!history.ok()) return history.status();
    complete = put(*history, *checkpoint.add_sampler_state());
  }
  if (!complete) {
    // The step itself is done, so the job goes on; a later checkpoint will do.
    outcome.checkpoint.reset();
    outcome.checkpoint_tensors.clear();
  }
  return absl::OkStatus();
}

// The clean estimate, decoded from latents shrunk so far that it is as small as asked: a fraction
// of what decoding the picture takes, and right for any autoencoder.
absl::Status DiffusionPipeline::PutPreview(const v1::PlanJob& job, const Slot& slot,
                                           JobOutcome& outcome) {
  absl::StatusOr<std::string> denoised = Read(*denoised_[job.slot()]);
  if (!denoised.ok()) return denoised.status();
  if (!AreFinite(*denoised)) return absl::OkStatus();
  const int side = std::max(slot.latent_height, slot.latent_width);
  const int side_max = std::max(1, job.returns().preview_size_max() / factor());
  const int k = (side + side_max - 1) / side_max;
  LatentView view = View(slot);
  const std::vector<float> small =
      Shrink(view, reinterpret_cast<const float*>(denoised->data()), k);
  view.height = std::max(1, slot.latent_height / k);
  view.width = std::max(1, slot.latent_width / k);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> buffer = Upload(ops_, small, *stream_);
  if (!buffer.ok()) return absl::OkStatus();  // no picture is worth less than its preview
  view.data = static_cast<float*>((*buffer)->data());
  std::string pixels(static_cast<size_t>(view.height * factor()) *
                         static_cast<size_t>(view.width * factor()) * kPixelChannels,
                     '\0');
  absl::Status status =
      parts_.decoder->Decode(view, reinterpret_cast<uint8_t*>(pixels.data()), *stream_);
  if (!status.ok()) return status;
  outcome.preview_height = view.height * factor();
  outcome.preview_width = view.width * factor();
  if (absl::StatusOr<Payload> payload = MakePayload(pixels); payload.ok()) {
    outcome.preview = *std::move(payload);
  }
  return absl::OkStatus();
}

absl::Status DiffusionPipeline::Decode(const v1::BatchPlan& plan, absl::Span<const int> live,
                                       absl::Span<JobOutcome> outcomes) {
  for (const int index : live) {
    JobOutcome& outcome = outcomes[static_cast<size_t>(index)];
    absl::StatusOr<Slot*> slot = FindSlot(plan.jobs(index));
    if (!slot.ok()) {
      outcome.status = slot.status();
      continue;
    }
    if ((*slot)->steps_done < (*slot)->evaluations()) {
      outcome.status = WrongState(
          "STEP_INVALID", absl::StrCat("decode before the last step: ", (*slot)->steps_done, " of ",
                                       (*slot)->evaluations(), " are done"));
      continue;
    }
    if (absl::Status status = DecodeSlot(**slot, outcome); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DiffusionPipeline::DecodeSlot(const Slot& slot, JobOutcome& outcome) {
  absl::StatusOr<std::string> latents = Read(*slot.latents);
  if (!latents.ok()) return latents.status();
  if (!AreFinite(*latents)) {
    outcome.status = NotFinite();
    return absl::OkStatus();
  }
  const size_t bytes = static_cast<size_t>(slot.latent_height * factor()) *
                       static_cast<size_t>(slot.latent_width * factor()) * kPixelChannels;
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
