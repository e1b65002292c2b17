#include "model/load_parts.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/numerics.h"
#include "model/generation_defaults.h"
#include "model/limits.h"

namespace darkroom {
namespace {

constexpr int kBranches = 2;  // sequences of one job with guidance

// Sizes that a model can make within the memory limits.
class SizeLimits {
 public:
  SizeLimits(const DiffusionPipelineParts& parts, int native)
      : parts_(parts),
        factor_(parts.decoder->config().factor()),
        multiple_(factor_ * parts.denoiser->patch()),
        native_(native) {}

  int multiple() const { return multiple_; }
  int size_min() const {
    return std::max(multiple_, native_ / model_limits::kSizeUnderNativeMax / multiple_ * multiple_);
  }
  // Rows of one job of this size, with guidance.
  int64_t RowsAlone(int size) const {
    const int64_t patches = size / multiple_;
    return kBranches * (patches * patches + parts_.denoiser->text_tokens_max());
  }
  // The largest size up to `rows_max` rows; 0 when not even the smallest fits.
  int SizeMax(int64_t rows_max) const {
    const int bound = std::max(native_, std::min(model_limits::kSizePixelsMax,
                                                 model_limits::kSizeOverNativeMax * native_));
    int size = bound / multiple_ * multiple_;
    while (size > 0 && !Fits(size, rows_max)) size -= multiple_;
    return size;
  }
  // At most `wanted` rows, as many as fit in memory.
  int64_t RowsMax(int64_t wanted, int size_max, int slots) const {
    int64_t low = RowsAlone(size_max);
    int64_t high = std::max(wanted, low);
    while (low < high) {
      const int64_t middle = low + (high - low + 1) / 2;
      if (StepFits(middle, int64_t{kBranches} * slots)) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

 private:
  bool StepFits(int64_t rows, int64_t sequences) const {
    return parts_.denoiser->WorkspaceBytes(rows, sequences) <= model_limits::kStepWorkspaceBytesMax;
  }
  bool Fits(int size, int64_t rows_max) const {
    const int latents = size / factor_;
    size_t bytes = parts_.decoder->WorkspaceBytes(latents, latents);
    if (parts_.encoder != nullptr) {
      bytes = std::max(bytes, parts_.encoder->WorkspaceBytes(latents, latents));
    }
    return RowsAlone(size) <= rows_max && StepFits(RowsAlone(size), kBranches) &&
           bytes <= model_limits::kDecodeWorkspaceBytesMax;
  }

  const DiffusionPipelineParts& parts_;
  int factor_;
  int multiple_;
  int native_;
};

const char* PrecisionName(DType precision) { return precision == DType::kBf16 ? "bf16" : "f32"; }

void DescribeNumerics(const LoadOptions& options, Ops& ops, DiffusionPipelineParts& parts) {
  v1::Numerics& numerics = parts.numerics;
  numerics.set_model_digest(parts.model.digest());
  numerics.set_precision(PrecisionName(options.precision));
  parts.model.set_precision(numerics.precision());
  // "cpu avx512_core, 2 threads"
  const std::vector<std::string> device = absl::StrSplit(ops.DeviceName(), ' ');
  numerics.set_backend(device.front());
  numerics.set_isa(ops.Isa());
  numerics.set_version(kNumericsVersion);
  // "onednn 2.6.3, glibc 2.36"
  for (const absl::string_view library : absl::StrSplit(ops.Libraries(), ", ")) {
    numerics.add_libraries(std::string(library));
  }
  numerics.set_tensor_degree(1);
  numerics.set_ring_degree(1);
  numerics.set_expert_degree(1);
  numerics.set_acceleration("exact");
  parts.model.set_numerics_id(NumericsId(numerics));
}

// Files that several threads hash, each the next that nobody has begun.
struct HashJob {
  std::vector<const SafetensorsFile*> files;
  std::vector<std::string> digests;
  int64_t total = 0;
  std::atomic<int64_t> done{0};

  void Run() {
    for (;;) {
      const size_t i = next_.fetch_add(1);
      if (i >= files.size()) return;
      digests[i] = ModelFolder::Hash(
          *files[i], [this](size_t bytes) { done.fetch_add(static_cast<int64_t>(bytes)); });
      finished_.fetch_add(1);
    }
  }
  // A moment; true when all files are finished.
  bool WaitForProgress() {
    if (finished_.load() == files.size()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(model_limits::kProgressMillis));
    return finished_.load() == files.size();
  }

 private:
  std::atomic<size_t> next_{0};
  std::atomic<size_t> finished_{0};
};

// What another worker found in this very file, or null.
const PackedModel::File* FindKnown(const SafetensorsFile& file, const PackedModel* packed) {
  if (packed == nullptr) return nullptr;
  for (const PackedModel::File& known : packed->files) {
    if (known.file == file.file() && known.identity == file.identity()) return &known;
  }
  return nullptr;
}

}  // namespace

absl::Status CheckAll(absl::Span<const Weights* const> components) {
  std::vector<std::string> problems;
  absl::Status first;
  for (const Weights* weights : components) {
    absl::Status status = weights->Check();
    if (status.ok()) continue;
    problems.emplace_back(status.message());
    if (first.ok()) first = status;
  }
  if (problems.size() <= 1) return first;
  return Error(absl::StatusCode::kInvalidArgument, "MODEL_INVALID", absl::StrJoin(problems, "; "));
}

void HashAll(ModelFolder& folder, absl::Span<const Weights* const> components,
             const LoadOptions& options) {
  HashJob job;
  for (const Weights* weights : components) {
    for (const auto& file : weights->files()) {
      const PackedModel::File* known = FindKnown(*file, options.packed);
      if (known != nullptr) {
        folder.Use(*file, known->sha256);
      } else {
        job.files.push_back(file.get());
        job.total += static_cast<int64_t>(file->bytes().size());
      }
    }
  }
  if (options.progress) options.progress(0, job.total);
  job.digests.resize(job.files.size());
  const size_t threads =
      std::min<size_t>({job.files.size(), std::max<size_t>(1, std::thread::hardware_concurrency()),
                        model_limits::kHashThreadsMax});
  std::vector<std::thread> hashers;
  for (size_t i = 0; i < threads; ++i) hashers.emplace_back([&job] { job.Run(); });
  // Progress is told on this thread alone.
  while (options.progress && !job.WaitForProgress()) {
    options.progress(job.done.load(), job.total);
  }
  for (std::thread& hasher : hashers) hasher.join();
  if (options.progress) options.progress(job.total, job.total);
  for (size_t i = 0; i < job.files.size(); ++i) folder.Use(*job.files[i], job.digests[i]);
}

absl::Status PackShared(const ModelFolder& folder, absl::Span<const Weights* const> components,
                        const LoadOptions& options, Ops& ops,
                        absl::FunctionRef<absl::Status()> pack) {
  if (options.packed_out == nullptr) return pack();
  PackedModel& out = *options.packed_out;
  out = PackedModel();
  out.key = absl::StrCat(folder.Digest(), " ", PrecisionName(options.precision));
  for (const Weights* weights : components) {
    for (const auto& file : weights->files()) {
      out.files.push_back({file->file(), file->identity(), folder.DigestOf(*file)});
    }
  }
  const bool known = options.packed != nullptr && options.packed->key == out.key;
  absl::Status status = ops.BeginWeights(known ? &options.packed->weights : nullptr);
  if (status.ok()) status = pack();
  absl::StatusOr<SharedWeights> packed = ops.EndWeights();
  if (!status.ok()) return status;
  if (!packed.ok()) return packed.status();
  if (known) {
    out = PackedModel();
  } else {
    out.weights = *std::move(packed);
  }
  return absl::OkStatus();
}

int64_t CountParameters(absl::Span<const Weights* const> components) {
  int64_t parameters = 0;
  for (const Weights* weights : components) parameters += weights->parameters();
  return parameters;
}

absl::Status Describe(ModelFolder& folder, const LoadOptions& options, int native, Ops& ops,
                      DiffusionPipelineParts& parts) {
  const SizeLimits sizes(parts, native);
  const int64_t rows_wanted = options.step_tokens_max > 0 ? options.step_tokens_max : INT64_MAX;
  const int size_max = sizes.SizeMax(rows_wanted);
  if (size_max < native) {
    return Error(absl::StatusCode::kResourceExhausted, "MODEL_TOO_LARGE",
                 absl::StrCat("a step of this model's own size, ", native, " x ", native,
                              " pixels, takes ", sizes.RowsAlone(native),
                              " tokens with guidance, which is beyond step_tokens_max or the "
                              "worker's memory limits"));
  }
  parts.slots = options.slots;
  parts.step_rows_max = sizes.RowsMax(
      std::min(rows_wanted, sizes.RowsAlone(size_max) * options.slots), size_max, options.slots);

  parts.parked_rows_max = sizes.RowsAlone(size_max) * options.slots;

  v1::Model& model = parts.model;
  model.set_name(options.name);
  model.set_state(v1::Model::STATE_READY);
  model.set_family(folder.family());
  model.set_digest(folder.Digest());
  model.set_license(folder.License());
  for (const std::unique_ptr<const Sampler>& sampler : parts.samplers) {
    model.add_samplers(std::string(sampler->name()));
  }
  const int steps_max = parts.samplers.front()->steps_max();
  v1::Model::Limits& limits = *model.mutable_limits();
  limits.set_size_min(std::min(sizes.size_min(), size_max));
  limits.set_size_max(size_max);
  limits.set_size_multiple_of(sizes.multiple());
  limits.set_steps_max(steps_max);
  limits.set_images_max(model_limits::kImagesMax);
  limits.set_sequence_length_max(parts.denoiser->text_tokens_max());
  v1::Model::Defaults& defaults = *model.mutable_defaults();
  defaults.set_width(native);
  defaults.set_height(native);
  defaults.set_sampler(model.samplers(0));
  defaults.set_steps(std::min(defaults.steps(), steps_max));
  DescribeNumerics(options, ops, parts);
  const char* hash_latents = std::getenv("DARKROOM_HASH_LATENTS");
  parts.hash_latents = hash_latents != nullptr && std::string_view(hash_latents) == "1";
  return ReadGenerationDefaults(folder, model);
}

}  // namespace darkroom
