#include "model/diffusion_pipeline.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/numerics.h"
#include "model/limits.h"
#include "model/noise.h"
#include "model/slot_request.h"
#include "model/step_outputs.h"

namespace darkroom {
namespace {

// A mask's pixels from this grey level on are painted, as diffusers rounds them.
constexpr int kMaskThreshold = 128;
constexpr int kPixelChannels = AutoencoderKlConfig::kPixelChannels;

absl::Status OutOfMemory() {
  return Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
               "the worker has no memory left for the latents");
}

}  // namespace

DiffusionPipeline::DiffusionPipeline(DiffusionPipelineParts parts, Ops& ops)
    : parts_(std::move(parts)),
      ops_(ops),
      stream_(ops.CreateStream()),
      slots_(static_cast<size_t>(parts_.slots)),
      parked_(
          ops, parts_.slots,
          static_cast<size_t>(parts_.parked_rows_max * parts_.denoiser->width()) * sizeof(float)),
      denoised_(static_cast<size_t>(parts_.slots)) {}

absl::Status DiffusionPipeline::Open(const v1::OpenSlot& request,
                                     absl::Span<const Payload> checkpoint_tensors,
                                     const JobInputs& inputs) {
  if (request.slot() >= slots_.size()) {
    return WrongState("SLOT_INVALID", absl::StrCat("slot must be 0 to ", slots_.size() - 1));
  }
  if (slots_[request.slot()].open) return WrongState("SLOT_OPEN", "the slot is open already");
  absl::Status status =
      CheckSlotRequest(request, inputs, parts_.model, parts_.samplers, parts_.encoder != nullptr);
  if (!status.ok()) return status;
  const Sampler* sampler = FindSampler(parts_.samplers, request.sampler());
  if (request.has_checkpoint()) {
    const int64_t shape[] = {parts_.denoiser->latent_channels(), request.height() / factor(),
                             request.width() / factor()};
    status = CheckSlotCheckpoint(request, checkpoint_tensors, shape, parts_.model, *sampler);
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
  if (status = SetGuidance(v1::PlanJob(), slot, probe); !status.ok()) return status;
  slot.request.guided = probe.guided();
  if (status = FillLatents(request, checkpoint_tensors, slot); !status.ok()) return status;
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
    for (DeviceBuffer* buffer :
         {slot.latents.get(), slot.history.get(), slot.known.get(), slot.noise.get(),
          slot.mask.get(), denoised_[slot_index].get(), parked_.buffer(slot_index)}) {
      wipe(buffer);
    }
    if (slot.conditioning != nullptr) slot.conditioning->Wipe(ops_, *stream_);
    for (std::string* text : {&slot.request.prompt, &slot.request.negative_prompt}) {
      std::fill(text->begin(), text->end(), '\0');
    }
  }
  denoised_[slot_index] = nullptr;
  parked_.Free(slot_index);
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
  return CheckRange(RangeOf(plan), job, slot);
}

BlockRange DiffusionPipeline::RangeOf(const v1::BatchPlan& plan) const {
  const v1::SegmentRange& segments = plan.segments();
  if (segments.first() == 0 && segments.last() == 0) return {0, parts_.denoiser->layers()};
  return {segments.first(), segments.last()};
}

absl::Status DiffusionPipeline::CheckRange(BlockRange range, const v1::PlanJob& job,
                                           const Slot& slot) const {
  const int layers = parts_.denoiser->layers();
  if (range.first < 0 || range.first >= range.last || range.last > layers) {
    return WrongState("SEGMENTS_INVALID", absl::StrCat("blocks ", range.first, " to ", range.last,
                                                       " of a model that has ", layers));
  }
  if (range.first != slot.blocks_done) {
    return WrongState("SEGMENTS_OUT_OF_ORDER",
                      absl::StrCat("the plan begins with block ", range.first, "; ",
                                   slot.blocks_done, " of the step's are done"));
  }
  if (range.last < layers && (job.returns().preview() || job.returns().checkpoint())) {
    return WrongState("RETURNS_INSIDE_STEP",
                      "a plan that ends inside a step has neither preview nor checkpoint");
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

absl::Status DiffusionPipeline::BeginStep(const v1::PlanJob& job, const Slot& slot,
                                          StepJob& step) const {
  step = StepJob();
  if (absl::Status status = SetGuidance(job, slot, step); !status.ok()) return status;
  step.evaluation = slot.schedule.evaluations[static_cast<size_t>(slot.steps_done)];
  if (job.sigmas_size() == 0) return absl::OkStatus();
  if (job.sigmas_size() != 2) {
    return OutOfRange("SIGMAS_INVALID", "sigmas", "must be two or none");
  }
  absl::StatusOr<Evaluation> given = slot.sampler->MakeStep(job.sigmas(0), job.sigmas(1));
  if (!given.ok()) return given.status();
  step.evaluation = *given;
  return absl::OkStatus();
}

absl::StatusOr<DiffusionPipeline::Ready> DiffusionPipeline::Prepare(const v1::BatchPlan& plan,
                                                                    int index) {
  const v1::PlanJob& job = plan.jobs(index);
  absl::StatusOr<Slot*> found = FindSlot(job);
  if (!found.ok()) return found.status();
  Slot& slot = **found;
  if (absl::Status status = CheckPlanJob(plan, job, slot); !status.ok()) return status;

  Ready ready{.index = index, .slot = &slot, .job = slot.begun};
  StepJob& step = ready.job;
  if (slot.blocks_done == 0) {
    if (absl::Status status = BeginStep(job, slot, step); !status.ok()) return status;
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
  if (RangeOf(plan) != BlockRange{0, parts_.denoiser->layers()}) {
    const int64_t elements = parts_.denoiser->RowsOf(step) * parts_.denoiser->width();
    auto parked = parked_.Hold(job.slot(), static_cast<size_t>(elements) * sizeof(float));
    if (!parked.ok()) return parked.status();
    step.parked = *parked;
  }
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
  const BlockRange range = RangeOf(plan);
  if (absl::Status status = parts_.denoiser->RunBlocks(step_jobs_, range, *stream_); !status.ok()) {
    return status;
  }
  for (const Ready& ready : pass) {
    const v1::PlanJob& job = plan.jobs(ready.index);
    JobOutcome& outcome = outcomes[static_cast<size_t>(ready.index)];
    outcome.sigma = ready.job.evaluation.sigma;
    if (range.last < parts_.denoiser->layers()) {
      ready.slot->blocks_done = range.last;
      ready.slot->begun = ready.job;
      continue;
    }
    ready.slot->blocks_done = 0;
    parked_.StepDone(job.slot());
    ++ready.slot->steps_done;
    absl::Status status = FinishStep(job, *ready.slot, outcome);
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
  if (parts_.hash_latents) outcome.latents_hash = HashLatents(*latents);
  if (!job.returns().checkpoint()) return absl::OkStatus();
  if (!AreFinite(*latents)) {
    outcome.status = NotFinite();
    return absl::OkStatus();
  }
  std::vector<std::string> tensors = {*std::move(latents)};
  if (slot.history != nullptr) {
    absl::StatusOr<std::string> history = Read(*slot.history);
    if (!history.ok()) return history.status();
    tensors.push_back(*std::move(history));
  }
  PutCheckpoint(View(slot), tensors, outcome);
  if (outcome.checkpoint.has_value()) {
    outcome.checkpoint->set_step(slot.steps_done);
    outcome.checkpoint->set_numerics_id(parts_.model.numerics_id());
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
      ShrinkLatents(view, reinterpret_cast<const float*>(denoised->data()), k);
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
