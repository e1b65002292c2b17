#include "testing/fake_pipeline.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/denoise_steps.h"
#include "base/error.h"
#include "base/numerics.h"
#include "base/sha256.h"

namespace darkroom::testing {
namespace {

constexpr std::string_view kFaults[] = {"fail",  "nan",  "throw", "device",
                                        "crash", "exit", "hang",  "slow"};

void Pause(int64_t us) {
  if (us > 0) std::this_thread::sleep_for(std::chrono::microseconds(us));
}

// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t Mix(uint64_t chain, uint64_t value) { return Mix(chain ^ Mix(value)); }

uint64_t Fnv1a(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// [-1, 1), exact in a float.
float Noise(uint64_t chain, size_t index) {
  return static_cast<float>(static_cast<int64_t>(Mix(chain, index) >> 40) - (1 << 23)) /
         static_cast<float>(1 << 23);
}

std::string_view AsBytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

absl::Status Invalid(std::string_view reason, const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message);
}

}  // namespace

FakePipeline::FakePipeline(const FakePipelineOptions& options, const LoadOptions& load)
    : options_(options), slots_(static_cast<size_t>(load.slots)) {
  if (!options.timeline.empty()) timeline_.open(options.timeline, std::ios::app);
  model_.set_name(load.name);
  model_.set_state(v1::Model::STATE_READY);
  model_.set_family("FakePipeline");
  model_.add_tasks(v1::TASK_TEXT_TO_IMAGE);
  model_.add_tasks(v1::TASK_IMAGE_TO_IMAGE);
  model_.add_tasks(v1::TASK_INPAINT);
  model_.add_samplers("ddim");
  model_.add_samplers("flow_match_heun");
  model_.set_guidance(v1::Model::GUIDANCE_CLASSIFIER_FREE);
  model_.set_digest(Sha256Hex("fake " + load.name));
  model_.set_parameters(1);
  model_.set_license("none");
  v1::Model::Limits& limits = *model_.mutable_limits();
  limits.set_size_min(16);
  limits.set_size_max(2048);
  limits.set_size_multiple_of(16);
  limits.set_steps_max(1000);
  limits.set_images_max(16);
  v1::Model::Defaults& defaults = *model_.mutable_defaults();
  defaults.set_width(64);
  defaults.set_height(64);
  defaults.set_steps(10);
  defaults.set_guidance_scale(4);
  defaults.set_sampler("ddim");
  defaults.set_true_cfg_scale(1);
  defaults.set_strength(0.6);
  numerics_.set_model_digest(model_.digest());
  numerics_.set_precision(load.precision == DType::kBf16 ? "bf16" : "f32");
  numerics_.set_backend("fake");
  numerics_.set_isa(options.isa);
  numerics_.set_version(kNumericsVersion);
  numerics_.set_tensor_degree(1);
  numerics_.set_ring_degree(1);
  numerics_.set_expert_degree(1);
  model_.set_numerics_id(NumericsId(numerics_));
}

absl::Status FakePipeline::Validate(const v1::OpenSlot& request, const JobInputs& inputs) const {
  const v1::Model::Limits& limits = model_.limits();
  for (const int32_t size : {request.width(), request.height()}) {
    if (size < limits.size_min() || size > limits.size_max() ||
        size % limits.size_multiple_of() != 0) {
      return Invalid("SIZE_OUT_OF_RANGE", "width and height must be 16, 32, ... 2048");
    }
  }
  const size_t pixels =
      static_cast<size_t>(request.width()) * static_cast<size_t>(request.height());
  if ((!inputs.init_image.empty() && inputs.init_image.size() != pixels * 3) ||
      (!inputs.mask.empty() && (inputs.init_image.empty() || inputs.mask.size() != pixels))) {
    return Invalid("INPUT_SIZE_INVALID", "pictures must have the size of the output");
  }
  if (request.slot() >= slots_.size() || slots_[request.slot()].open) {
    return Error(absl::StatusCode::kFailedPrecondition, "SLOT_HELD", "the slot is not free");
  }
  return absl::OkStatus();
}

// A hash of everything that the job starts from.
uint64_t FakePipeline::StartOfChain(const v1::OpenSlot& request, const JobInputs& inputs) {
  uint64_t chain =
      Mix(Mix(static_cast<uint64_t>(request.seed()), Fnv1a(request.prompt())),
          static_cast<uint64_t>(request.width()) << 32 | static_cast<uint32_t>(request.height()));
  if (!request.negative_prompt().empty()) chain = Mix(chain, Fnv1a(request.negative_prompt()));
  if (!inputs.init_image.empty()) chain = Mix(chain, Fnv1a(inputs.init_image.bytes()));
  if (!inputs.mask.empty()) chain = Mix(chain, Fnv1a(inputs.mask.bytes()));
  return chain;
}

absl::Status FakePipeline::Open(const v1::OpenSlot& request,
                                absl::Span<const Payload> checkpoint_tensors,
                                const JobInputs& inputs) {
  if (absl::Status status = Validate(request, inputs); !status.ok()) return status;
  absl::Status job_status;
  if (absl::Status status = Misbehave(request.prompt(), "open", job_status); !status.ok()) {
    return status;
  }
  if (!job_status.ok()) return job_status;
  Slot slot;
  slot.request = request;
  slot.inputs = inputs;
  slot.chain = StartOfChain(request, inputs);
  slot.latents.resize(static_cast<size_t>(kLatentChannels) * (request.height() / kLatentPixels) *
                      (request.width() / kLatentPixels));
  for (size_t i = 0; i < slot.latents.size(); ++i) slot.latents[i] = Noise(slot.chain, i);
  if (request.has_checkpoint()) {
    if (absl::Status status = Restore(request, checkpoint_tensors, slot); !status.ok()) {
      return status;
    }
  }
  slot.open = true;
  slots_[request.slot()] = std::move(slot);
  return absl::OkStatus();
}

absl::Status FakePipeline::Restore(const v1::OpenSlot& request, absl::Span<const Payload> tensors,
                                   Slot& slot) {
  const v1::Checkpoint& checkpoint = request.checkpoint();
  const std::vector<int64_t> shape(checkpoint.latents().shape().begin(),
                                   checkpoint.latents().shape().end());
  const std::vector<int64_t> due = {kLatentChannels, request.height() / kLatentPixels,
                                    request.width() / kLatentPixels};
  if (tensors.size() != 2 || shape != due || checkpoint.latents().dtype() != v1::DTYPE_F32 ||
      tensors[0].size() != slot.latents.size() * sizeof(float) ||
      tensors[1].size() != sizeof(slot.chain) || checkpoint.step() < 0 ||
      checkpoint.step() > DenoiseEvaluations(request.sampler(), request.steps(),
                                             request.has_init_image() ? request.strength() : 1)) {
    return Invalid("CHECKPOINT_INVALID", "the checkpoint is not one of this job");
  }
  std::memcpy(slot.latents.data(), tensors[0].bytes().data(), tensors[0].size());
  std::memcpy(&slot.chain, tensors[1].bytes().data(), sizeof(slot.chain));
  if (!std::all_of(slot.latents.begin(), slot.latents.end(),
                   [](float value) { return std::isfinite(value); })) {
    return Invalid("CHECKPOINT_INVALID", "the checkpoint's latents are not finite");
  }
  slot.next_step = checkpoint.step();
  return absl::OkStatus();
}

void FakePipeline::Close(uint32_t slot, bool zero) {
  Slot& closed = slots_[slot];
  closed.open = false;
  closed.request.Clear();
  closed.inputs = {};
  closed.image_encoded = false;
  closed.next_block = 0;
  closed.chain = 0;
  if (zero) std::fill(closed.latents.begin(), closed.latents.end(), 0.0f);
}

absl::Status FakePipeline::Encode(const v1::BatchPlan& plan, absl::Span<const int> live,
                                  absl::Span<JobOutcome> outcomes) {
  Pause(options_.encode_us);
  for (const int i : live) {
    Slot& slot = slots_[plan.jobs(i).slot()];
    absl::Status status = Misbehave(slot.request.prompt(), "encode", outcomes[i].status);
    if (!status.ok()) return status;
    slot.encoded = outcomes[i].status.ok();
  }
  return absl::OkStatus();
}

absl::Status FakePipeline::EncodeImage(const v1::BatchPlan& plan, absl::Span<const int> live,
                                       absl::Span<JobOutcome> outcomes) {
  Pause(options_.image_encode_us);
  for (const int i : live) {
    Slot& slot = slots_[plan.jobs(i).slot()];
    absl::Status status = Misbehave(slot.request.prompt(), "image", outcomes[i].status);
    if (!status.ok()) return status;
    if (slot.inputs.init_image.empty()) {
      outcomes[i].status = Invalid("IMAGE_MISSING", "the slot holds no picture");
    }
    if (!outcomes[i].status.ok()) continue;
    slot.image_encoded = true;
    // A resumed job goes on from its checkpoint's latents.
    if (slot.next_step > 0) continue;
    const std::string_view image = slot.inputs.init_image.bytes();
    const auto strength = static_cast<float>(slot.request.strength());
    for (size_t k = 0; k < slot.latents.size(); ++k) {
      const auto pixel = static_cast<unsigned char>(image[k * image.size() / slot.latents.size()]);
      slot.latents[k] =
          strength * slot.latents[k] + (1 - strength) * (static_cast<float>(pixel) / 127.5f - 1);
    }
  }
  return absl::OkStatus();
}

absl::Status FakePipeline::Denoise(const v1::BatchPlan& plan, absl::Span<const int> live,
                                   absl::Span<JobOutcome> outcomes) {
  int64_t tokens = 0;
  for (const int i : live) {
    const v1::OpenSlot& request = slots_[plan.jobs(i).slot()].request;
    tokens += static_cast<int64_t>(request.width() / kTokenPixels) *
              (request.height() / kTokenPixels) * (request.guidance_scale() > 1 ? 2 : 1);
  }
  const bool whole = plan.segments().last() == 0;
  const int32_t first = plan.segments().first();
  const int32_t last = whole ? options_.blocks : plan.segments().last();
  const int64_t step_us = options_.step_us + options_.job_us * static_cast<int64_t>(live.size()) +
                          options_.token_ns * tokens / 1000;
  const int64_t start_ns = Clock::Real().MonotonicNanos();
  Pause(step_us * (last - first) / options_.blocks);
  if (timeline_.is_open()) {
    timeline_ << start_ns << ' ' << Clock::Real().MonotonicNanos() << '\n' << std::flush;
  }
  for (const int i : live) {
    absl::Status status = RunBlocks(plan.jobs(i), first, last, outcomes[i]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FakePipeline::RunBlocks(const v1::PlanJob& job, int32_t first, int32_t last,
                                     JobOutcome& outcome) {
  Slot& slot = slots_[job.slot()];
  // One that comes with latents is encoded with its first step.
  if (!(slot.encoded || slot.request.has_checkpoint()) ||
      (!slot.inputs.init_image.empty() && !slot.image_encoded) ||
      job.step_index() != slot.next_step || first != slot.next_block) {
    outcome.status = Error(absl::StatusCode::kFailedPrecondition, "STEP_OUT_OF_ORDER",
                           "encode first, then each step once, block by block");
    return absl::OkStatus();
  }
  outcome.sigma = slot.request.steps() - job.step_index();
  slot.next_block = last % options_.blocks;
  if (slot.next_block > 0) return absl::OkStatus();
  bool make_nan = false;
  absl::Status status =
      Misbehave(slot.request.prompt(), absl::StrCat(job.step_index()), outcome.status, &make_nan);
  if (!status.ok() || !outcome.status.ok()) return status;
  AdvanceLatents(slot,
                 job.guidance_scale() > 0 ? job.guidance_scale() : slot.request.guidance_scale());
  if (make_nan) slot.latents[slot.latents.size() / 2] = NAN;
  if (!std::all_of(slot.latents.begin(), slot.latents.end(),
                   [](float value) { return std::isfinite(value); })) {
    outcome.status = Error(absl::StatusCode::kInternal, "LATENTS_NOT_FINITE",
                           "the model gave values that are not numbers");
    return absl::OkStatus();
  }
  outcome.latents_hash = Fnv1a(AsBytes(slot.latents));
  if (job.returns().checkpoint()) FillCheckpoint(slot, outcome);
  if (job.returns().preview()) FillPreview(slot, job.returns().preview_size_max(), outcome);
  return absl::OkStatus();
}

int64_t FakePipeline::parked_bytes() const {
  int64_t bytes = 0;
  for (const Slot& slot : slots_) {
    if (slot.next_block > 0) bytes += static_cast<int64_t>(slot.latents.size());
  }
  return bytes;
}

void FakePipeline::FillCheckpoint(const Slot& slot, JobOutcome& outcome) {
  v1::Checkpoint checkpoint;
  checkpoint.set_step(slot.next_step);
  checkpoint.mutable_latents()->set_dtype(v1::DTYPE_F32);
  checkpoint.mutable_latents()->add_shape(kLatentChannels);
  checkpoint.mutable_latents()->add_shape(slot.request.height() / kLatentPixels);
  checkpoint.mutable_latents()->add_shape(slot.request.width() / kLatentPixels);
  v1::TensorRef& state = *checkpoint.add_sampler_state();
  state.set_dtype(v1::DTYPE_I64);
  state.add_shape(1);
  outcome.checkpoint = std::move(checkpoint);
  outcome.checkpoint_tensors.push_back(Payload::Copy(AsBytes(slot.latents)));
  outcome.checkpoint_tensors.push_back(Payload::Copy(
      std::string_view(reinterpret_cast<const char*>(&slot.chain), sizeof(slot.chain))));
}

void FakePipeline::FillPreview(const Slot& slot, int size_max, JobOutcome& outcome) {
  const int32_t larger = std::max(slot.request.width(), slot.request.height());
  const int32_t bound = std::min(larger, size_max);
  outcome.preview_width = std::max(1, slot.request.width() * bound / larger);
  outcome.preview_height = std::max(1, slot.request.height() * bound / larger);
  outcome.preview = Payload::Copy(Picture(slot, outcome.preview_width, outcome.preview_height));
}

void FakePipeline::AdvanceLatents(Slot& slot, double guidance_scale) {
  uint64_t guidance_bits = 0;
  std::memcpy(&guidance_bits, &guidance_scale, sizeof(guidance_bits));
  slot.chain = Mix(Mix(slot.chain, static_cast<uint64_t>(slot.next_step)), guidance_bits);
  for (size_t i = 0; i < slot.latents.size(); ++i) {
    slot.latents[i] = 0.5f * slot.latents[i] + 0.5f * Noise(slot.chain, i);
  }
  ++slot.next_step;
}

absl::Status FakePipeline::Decode(const v1::BatchPlan& plan, absl::Span<const int> live,
                                  absl::Span<JobOutcome> outcomes) {
  Pause(options_.decode_us);
  for (const int i : live) {
    const Slot& slot = slots_[plan.jobs(i).slot()];
    absl::Status status = Misbehave(slot.request.prompt(), "decode", outcomes[i].status);
    if (!status.ok()) return status;
    if (outcomes[i].status.ok())
      outcomes[i].output =
          Payload::Copy(Picture(slot, slot.request.width(), slot.request.height()));
  }
  return absl::OkStatus();
}

std::string FakePipeline::Picture(const Slot& slot, int64_t width, int64_t height) {
  const int64_t columns = slot.request.width() / kLatentPixels;
  const int64_t rows = slot.request.height() / kLatentPixels;
  const int64_t plane = columns * rows;
  std::string pixels(static_cast<size_t>(width * height * 3), '\0');
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const int64_t cell = y * rows / height * columns + x * columns / width;
      for (int64_t channel = 0; channel < 3; ++channel) {
        const float value = slot.latents[static_cast<size_t>(channel * plane + cell)];
        pixels[static_cast<size_t>((y * width + x) * 3 + channel)] = static_cast<char>(
            static_cast<unsigned char>(std::clamp(std::lround((value + 1) * 127.5f), 0L, 255L)));
      }
    }
  }
  return pixels;
}

bool FakePipeline::HappensNow(std::string_view fault, bool once, std::string_view place) const {
  if (!once) return true;
  const std::string mark =
      absl::StrCat(options_.once_dir, "/", std::string(fault), "-", std::string(place));
  const int fd = ::open(mark.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  ::close(fd);
  return true;
}

absl::Status FakePipeline::Misbehave(const std::string& prompt, std::string_view place,
                                     absl::Status& job_status, bool* make_nan) {
  const std::vector<std::string> words = absl::StrSplit(prompt, ' ');
  for (const std::string& word : words) {
    const size_t at = word.find('@');
    if (at == std::string::npos || std::string_view(word).substr(at + 1) != place) continue;
    std::string_view fault = std::string_view(word).substr(0, at);
    constexpr std::string_view kOnce = "-once";
    const bool once =
        fault.size() > kOnce.size() && fault.substr(fault.size() - kOnce.size()) == kOnce;
    if (once) fault.remove_suffix(kOnce.size());
    if (std::find(std::begin(kFaults), std::end(kFaults), fault) == std::end(kFaults) ||
        !HappensNow(fault, once, place)) {
      continue;
    }
    if (fault == "crash") std::abort();
    if (fault == "exit") ::_exit(3);
    if (fault == "throw") throw std::bad_alloc();
    if (fault == "device") return absl::InternalError("the fake device failed as asked");
    if (fault == "slow") Pause(500'000);
    while (fault == "hang") ::pause();
    if (fault == "nan" && make_nan != nullptr) *make_nan = true;
    if (fault == "fail") {
      job_status = Error(absl::StatusCode::kInternal, "FAKE_FAILURE", "failed as asked");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Pipeline>> LoadFakePipeline(const FakePipelineOptions& options,
                                                           const std::string& path,
                                                           const LoadOptions& load) {
  constexpr int kParts = 4;
  const std::string key = "fake " + path;
  const bool packed = load.packed != nullptr && load.packed->key == key;
  if (packed && load.packed->weights.layout != options.isa) {
    return Error(absl::StatusCode::kFailedPrecondition, "SHARED_WEIGHTS_MISMATCH",
                 "packed for " + load.packed->weights.layout);
  }
  if (load.packed_out != nullptr && !packed) {
    absl::StatusOr<Payload> segment = Payload::CreateMemfd(
        key.size(), [&](absl::Span<char> bytes) { key.copy(bytes.data(), bytes.size()); });
    if (!segment.ok()) return segment.status();
    *load.packed_out = {key, {{"weights", "identity", "sha256"}}, {options.isa, {*segment}}};
  }
  for (int part = 0; part < kParts; ++part) {
    if (load.progress) load.progress(part, kParts);
    if (!packed) Pause(options.load_us / kParts);
  }
  if (load.progress) load.progress(kParts, kParts);
  if (!options.load_error.empty()) return Invalid("MODEL_INVALID", options.load_error);
  return std::unique_ptr<Pipeline>(std::make_unique<FakePipeline>(options, load));
}

}  // namespace darkroom::testing
